//! The benchmark's own settings of a model: the shipped workload files, as they were when rankio
//! was built. What a run has otherwise is what its user changed.

use super::source::Sources;
use super::{Accelerator, Config, Distribution, accelerators, resolve};

/// One file for each model; the others of a model differ by what `accelerators` says.
const SHIPPED: [(&str, &str); 10] = [
    ("unet3d", include_str!("../../workloads/unet3d_h100.yaml")),
    ("resnet50", include_str!("../../workloads/resnet50_h100.yaml")),
    ("cosmoflow", include_str!("../../workloads/cosmoflow_h100.yaml")),
    ("retinanet", include_str!("../../workloads/retinanet_b200.yaml")),
    ("dlrm", include_str!("../../workloads/dlrm_b200.yaml")),
    ("flux", include_str!("../../workloads/flux_b200.yaml")),
    ("llama3-8b", include_str!("../../workloads/llama3_8b.yaml")),
    ("llama3-70b", include_str!("../../workloads/llama3_70b.yaml")),
    ("llama3-405b", include_str!("../../workloads/llama3_405b.yaml")),
    ("llama3-1t", include_str!("../../workloads/llama3_1t.yaml")),
];

/// `model.name` as the benchmark's command line spells it: `llama_8b` and `llama3_8b` are
/// `llama3-8b`.
pub fn benchmark_model(name: &str) -> String {
    name.replace("llama_", "llama3-").replace('_', "-")
}

/// The settings of the benchmark for `model` (spelled as [`benchmark_model`] does) on
/// `accelerator`; None for a model that it does not have.
pub fn benchmark(model: &str, accelerator: Option<&str>) -> Option<Config> {
    let (name, text) = SHIPPED.iter().find(|(name, _)| *name == model)?;
    let mut sources = Sources::default();
    sources.add_text((*name).into(), (*text).into()).expect("a test reads each file");
    let (mut config, _) = resolve::resolve(&sources).expect("a test reads each file");
    if let Some(figures) =
        accelerator.and_then(|name| accelerators().get(model)?.get(name).copied())
    {
        config.reader.batch_size = figures.batch_size;
        config.train.computation_time =
            Distribution::Constant { seconds: figures.computation_time };
    }
    Some(config)
}

/// The accelerator whose step `config` has: batch and compute time, or the time alone, or the batch
/// alone where no other has it too.
pub fn accelerator_of(config: &Config) -> Option<String> {
    let known = accelerators().remove(&benchmark_model(&config.model.name))?;
    let batch = |figures: &Accelerator| figures.batch_size == config.reader.batch_size;
    let time = |figures: &Accelerator| {
        let seconds = figures.computation_time;
        config.train.computation_time == Distribution::Constant { seconds }
    };
    let only = |fits: &dyn Fn(&Accelerator) -> bool| {
        let mut fitting = known.iter().filter(|(_, figures)| fits(figures));
        let first = fitting.next()?;
        fitting.next().is_none().then(|| first.0.clone())
    };
    only(&|figures| batch(figures) && time(figures))
        .or_else(|| only(&time))
        .or_else(|| only(&batch))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shipped_file_is_read_and_has_the_models_name() {
        for (model, _) in SHIPPED {
            let config = benchmark(model, None).unwrap();
            assert_eq!(benchmark_model(&config.model.name), model);
        }
        assert_eq!(benchmark("unet4d", None), None);
    }

    #[test]
    fn an_accelerator_is_known_by_its_step() {
        for (model, known) in accelerators() {
            for accelerator in known.keys() {
                let Some(mut config) = benchmark(&model, Some(accelerator)) else { continue };
                assert_eq!(accelerator_of(&config).as_ref(), Some(accelerator), "{model}");
                // The batch of another size is one more setting of the user.
                config.reader.batch_size += 1;
                assert_eq!(accelerator_of(&config).as_ref(), Some(accelerator), "{model}");
            }
        }
        let mut config = benchmark("unet3d", Some("h100")).unwrap();
        config.train.computation_time = Distribution::Constant { seconds: 0.5 };
        assert_eq!(accelerator_of(&config), None, "three accelerators have that batch");
    }
}
