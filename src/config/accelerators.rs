//! Accelerators as data: the batch and the compute time of each model on each of them.

use serde::Deserialize;
use std::collections::BTreeMap;

/// `workloads/accelerators.yaml`, as it was when rankio was built.
const TABLE: &str = include_str!("../../workloads/accelerators.yaml");

/// What one accelerator asks for.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Accelerator {
    /// `reader.batch_size`: samples of a step.
    pub batch_size: u64,
    /// `train.computation_time`: seconds of a step.
    pub computation_time: f64,
}

/// The table: model, accelerator, figures.
pub fn accelerators() -> BTreeMap<String, BTreeMap<String, Accelerator>> {
    serde_yaml::from_str(TABLE).expect("a test reads the shipped table")
}

/// The figures of `accelerator` for `model`.
///
/// # Errors
/// What is unknown, and what there is.
pub(super) fn find(model: &str, accelerator: &str) -> Result<Accelerator, String> {
    let table = accelerators();
    let list =
        |names: Vec<&String>| names.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(", ");
    let Some(known) = table.get(model) else {
        let models = list(table.keys().collect());
        return Err(format!(
            "no accelerator is known for model `{model}` (known models: {models}); set \
             reader.batch_size and train.computation_time"
        ));
    };
    known.get(&accelerator.to_lowercase()).copied().ok_or_else(|| {
        let names = list(known.keys().collect());
        format!("`{accelerator}` is not known for {model}; give one of {names}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_found_by_model_and_accelerator() {
        let found = find("unet3d", "H100").unwrap();
        assert_eq!(found, Accelerator { batch_size: 7, computation_time: 0.323 });
        assert!(find("unet4d", "h100").unwrap_err().contains("unet3d"));
        assert!(find("flux", "h100").unwrap_err().contains("b200, mi355"));
    }

    #[test]
    fn mi355_asks_for_half_again_of_both() {
        for (model, accelerators) in accelerators() {
            let (Some(b200), Some(mi355)) = (accelerators.get("b200"), accelerators.get("mi355"))
            else {
                continue;
            };
            assert_eq!(2 * mi355.batch_size, 3 * b200.batch_size, "{model}");
            let times = mi355.computation_time / b200.computation_time;
            assert!((times - 1.5).abs() < 1e-9, "{model}: {times}");
        }
    }
}
