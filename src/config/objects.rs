//! `object` (ours): the object micro-benchmark, a weighted mix of operations on objects of its own.

use super::Config;
use serde::{Deserialize, Serialize};

/// `object`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ObjectWork {
    /// Weights of the operations.
    pub mix: ObjectMix,
    /// Bytes of an object; their mean where `size_stdev` is given.
    pub size: u64,
    /// Standard deviation of a lognormal distribution of sizes, bytes; 0: all have `size`.
    pub size_stdev: u64,
    /// Largest object of that distribution, bytes; 0: 16 times `size`.
    pub size_max: u64,
    /// A histogram of sizes in the place of `size`.
    pub sizes: Vec<SizeShare>,
    /// Bytes of a ranged read.
    pub range_size: u64,
    /// Objects of each rank.
    pub objects: u64,
    /// All objects are put before the clock starts, in a phase of their own.
    pub prefill: bool,
    /// Operations of a rank in flight; with `rate_per_s` the most of them.
    pub in_flight: u64,
    /// Operations begun per second by all ranks together, at random times (Poisson); 0: each rank
    /// begins one when one ends.
    pub rate_per_s: f64,
    /// Seconds; 0: until `operations` are done.
    pub duration_s: f64,
    /// Operations of each rank; 0: until `duration_s` is over.
    pub operations: u64,
    /// When to end earlier.
    pub autoterm: Autoterm,
    /// Seed of the order of operations and of the sizes.
    pub seed: u64,
    /// The objects stay after the run.
    pub keep: bool,
    /// Whose objects are used.
    pub source: ObjectSource,
}

/// `object.source`: whose objects are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ObjectSource {
    /// Those that this run makes.
    #[default]
    Own,
    /// Those that `rankio datagen` or a run with `object.keep` left; they are only read.
    Prepared,
    /// Whatever a listing of the root finds; they are only read.
    List,
}

/// `object.mix`: weights; what matters is their ratio.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ObjectMix {
    /// Writes of whole objects.
    pub put: f64,
    /// Reads of whole objects.
    pub get: f64,
    /// Reads of `range_size` bytes anywhere in an object.
    pub range: f64,
    /// Questions for the size of an object.
    pub head: f64,
    /// First pages of a listing of this rank's objects.
    pub list: f64,
    /// Removals.
    pub delete: f64,
}

/// An entry of `object.sizes`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SizeShare {
    /// Bytes.
    pub size: u64,
    /// Share of the objects that have it, in any unit.
    #[serde(default = "one")]
    pub weight: f64,
}

fn one() -> f64 {
    1.0
}

/// `object.autoterm`: a run ends when its rate is stable.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Autoterm {
    /// How far ten samples of the rate may lie apart, as a part of their mean; 0: never.
    pub within: f64,
    /// Seconds that the ten samples cover.
    pub over_s: f64,
}

impl Default for ObjectWork {
    fn default() -> Self {
        ObjectWork {
            mix: ObjectMix::default(),
            size: 1 << 20,
            size_stdev: 0,
            size_max: 0,
            sizes: Vec::new(),
            range_size: 64 << 10,
            objects: 256,
            prefill: true,
            in_flight: 16,
            rate_per_s: 0.0,
            duration_s: 10.0,
            operations: 0,
            autoterm: Autoterm::default(),
            seed: 1,
            keep: false,
            source: ObjectSource::Own,
        }
    }
}

impl Default for ObjectMix {
    fn default() -> Self {
        ObjectMix { put: 25.0, get: 60.0, range: 0.0, head: 15.0, list: 0.0, delete: 0.0 }
    }
}

impl Default for Autoterm {
    fn default() -> Self {
        Autoterm { within: 0.0, over_s: 10.0 }
    }
}

impl ObjectMix {
    /// Nothing is changed by these operations.
    pub fn only_reads(&self) -> bool {
        self.put + self.delete == 0.0
    }

    /// The weights in the order of the fields.
    pub fn weights(&self) -> [f64; 6] {
        [self.put, self.get, self.range, self.head, self.list, self.delete]
    }
}

/// What contradicts the object benchmark: the key, and a sentence without it.
pub(super) fn contradiction(config: &Config) -> Option<(&'static str, &'static str)> {
    let (workflow, object) = (&config.workflow, &config.object);
    if !workflow.object {
        return None;
    }
    if workflow.train || workflow.generate_data || workflow.evaluation || workflow.checkpoint {
        let text = "is a run of its own, with objects of its own; set train, generate_data, \
                    evaluation and checkpoint to False";
        return Some(("workflow.object", text));
    }
    if object.mix.weights().iter().sum::<f64>() <= 0.0 {
        return Some(("object.mix", "every weight is 0; give one of them more"));
    }
    if object.source != ObjectSource::Own && !object.mix.only_reads() {
        let text = "with object.source prepared or list objects are only read; give a mix without \
                    put and delete, e.g. {get: 60, head: 30, list: 10}";
        return Some(("object.mix", text));
    }
    if object.sizes.iter().any(|share| share.weight <= 0.0) {
        return Some(("object.sizes", "a weight must be above 0; remove the entry instead"));
    }
    if object.objects < object.in_flight {
        let text = "every operation in flight has an object of its own, so there must be at least \
                    object.in_flight of them; give more";
        return Some(("object.objects", text));
    }
    if object.duration_s == 0.0 && object.operations == 0 {
        let text = "neither this nor object.operations says when to end; give one of them";
        return Some(("object.duration_s", text));
    }
    None
}

#[cfg(test)]
mod tests {
    use crate::config::load;

    fn weights(file: &str, settings: &[&str]) -> [f64; 6] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("object.yaml");
        std::fs::write(&path, file).unwrap();
        let settings: Vec<String> = settings.iter().map(|text| text.to_string()).collect();
        load(&[path], &settings).unwrap().config.object.mix.weights()
    }

    #[test]
    fn a_mix_that_is_given_replaces_the_weights_of_the_file_and_the_default() {
        let none = "model: {name: x}";
        let mix = "object: {mix: {put: 20, delete: 7}}";
        assert_eq!(weights(none, &[]), [25.0, 60.0, 0.0, 15.0, 0.0, 0.0]);
        assert_eq!(weights(mix, &[]), [20.0, 0.0, 0.0, 0.0, 0.0, 7.0]);
        for file in [none, mix] {
            let get = "object.mix={get: 100}";
            assert_eq!(weights(file, &[get]), [0.0, 100.0, 0.0, 0.0, 0.0, 0.0]);
            let after = weights(file, &[get, "object.mix.put=3"]);
            assert_eq!(after, [3.0, 100.0, 0.0, 0.0, 0.0, 0.0]);
            let before = weights(file, &["object.mix.put=3", get]);
            assert_eq!(before, [0.0, 100.0, 0.0, 0.0, 0.0, 0.0]);
        }
        assert_eq!(weights(mix, &["object.mix.get=1"]), [20.0, 1.0, 0.0, 0.0, 0.0, 7.0]);
        assert_eq!(weights(none, &["object.mix.get=1"]), [25.0, 1.0, 0.0, 15.0, 0.0, 0.0]);
    }
}
