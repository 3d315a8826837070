//! The object micro-benchmark as arithmetic: which operation comes next and when, how large an
//! object is, what it is called. Everything follows from the seed, so any rank can tell what an
//! object must hold.

use super::permutation::key_of;
use super::show::{binary, grouped};
use crate::config::{Config, ObjectMix, ObjectSource, ObjectWork, SizeShare};
use rand_distr::{Distribution as _, Exp, LogNormal};
use rand_pcg::Pcg64Mcg;
use rand_pcg::rand_core::{Rng, SeedableRng};
use serde_json::{Value, json};

/// Folder of all objects below the root.
pub const OBJECT_FOLDER: &str = "objects";
/// Domains of keys.
const SIZE_KEY: u64 = 0x6F62_6A73;
const MIX_KEY: u64 = 0x6F62_6A6D;
const ARRIVAL_KEY: u64 = 0x6F62_6A61;
/// Largest object of a lognormal distribution without `size_max`, in means.
const LARGEST_MEANS: u64 = 16;
const PAGE_BYTES: u64 = 4096;

/// What is done to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum ObjectOp {
    Put,
    Get,
    Range,
    Head,
    List,
    Delete,
}

impl ObjectOp {
    /// All of them, in the order of `object.mix`.
    pub const ALL: [ObjectOp; 6] = [
        ObjectOp::Put,
        ObjectOp::Get,
        ObjectOp::Range,
        ObjectOp::Head,
        ObjectOp::List,
        ObjectOp::Delete,
    ];

    /// As it is called in files.
    pub fn name(self) -> &'static str {
        ["put", "get", "range", "head", "list", "delete"][self as usize]
    }
}

/// Draws operations by weight.
#[derive(Debug, Clone)]
pub struct Mix {
    /// Running sums; the last is the whole.
    sums: [f64; 6],
    dice: Pcg64Mcg,
}

impl Mix {
    /// The draws of `rank`.
    pub fn new(mix: &ObjectMix, seed: u64, rank: u64) -> Mix {
        let mut sums = mix.weights();
        (1..sums.len()).for_each(|place| sums[place] += sums[place - 1]);
        Mix { sums, dice: Pcg64Mcg::seed_from_u64(key_of(&[MIX_KEY, seed, rank])) }
    }

    /// The next operation.
    pub fn next_op(&mut self) -> ObjectOp {
        let at = unit(&mut self.dice) * self.sums[5];
        let place = self.sums.iter().position(|sum| at < *sum);
        ObjectOp::ALL[place.unwrap_or(5)]
    }

    /// A number below `limit`, which is at least 1.
    pub fn below(&mut self, limit: u64) -> u64 {
        // The bias is limit / 2^64.
        ((u128::from(self.dice.next_u64()) * u128::from(limit)) >> 64) as u64
    }
}

/// From 0 to 1, 1 left out.
fn unit(dice: &mut Pcg64Mcg) -> f64 {
    (dice.next_u64() >> 11) as f64 / (1u64 << 53) as f64
}

/// Intended starts of an open loop: a Poisson process. Those of all ranks together are one of the
/// whole rate, because independent ones add up.
#[derive(Debug, Clone)]
pub struct Arrivals {
    gap_s: Exp<f64>,
    dice: Pcg64Mcg,
    at_s: f64,
}

impl Arrivals {
    /// Those of `rank` of `ranks`; None without a rate.
    pub fn new(work: &ObjectWork, rank: u64, ranks: u64) -> Option<Arrivals> {
        let gap_s = Exp::new(work.rate_per_s / ranks as f64).ok()?;
        if work.rate_per_s <= 0.0 {
            return None;
        }
        let dice = Pcg64Mcg::seed_from_u64(key_of(&[ARRIVAL_KEY, work.seed, rank]));
        let mut arrivals = Arrivals { gap_s, dice, at_s: 0.0 };
        arrivals.advance();
        Some(arrivals)
    }

    /// The next intended start, ns after the start of the phase.
    pub fn next_ns(&self) -> u64 {
        (self.at_s * 1e9) as u64
    }

    /// Goes on to the one after it.
    pub fn advance(&mut self) {
        self.at_s += self.gap_s.sample(&mut self.dice);
    }
}

/// How large objects are.
#[derive(Debug, Clone)]
pub enum SizeLaw {
    /// All alike.
    Fixed(u64),
    /// Lognormal, cut at the second value.
    Lognormal(LogNormal<f64>, u64),
    /// Sizes with the running sums of their weights.
    Histogram(Vec<(u64, f64)>),
}

impl SizeLaw {
    /// That of `work`.
    pub fn new(work: &ObjectWork) -> SizeLaw {
        if !work.sizes.is_empty() {
            let mut sum = 0.0;
            let running = |share: &SizeShare| {
                sum += share.weight;
                (share.size, sum)
            };
            return SizeLaw::Histogram(work.sizes.iter().map(running).collect());
        }
        let mean = work.size as f64;
        match LogNormal::from_mean_cv(mean, work.size_stdev as f64 / mean) {
            Ok(law) if work.size_stdev > 0 => {
                let most = match work.size_max {
                    0 => work.size.saturating_mul(LARGEST_MEANS),
                    most => most,
                };
                SizeLaw::Lognormal(law, most)
            }
            _ => SizeLaw::Fixed(work.size),
        }
    }

    /// Bytes of version `version` of object `index` of `rank`.
    pub fn bytes(&self, seed: u64, rank: u64, index: u64, version: u32) -> u64 {
        if let SizeLaw::Fixed(bytes) = self {
            return *bytes;
        }
        let key = key_of(&[SIZE_KEY, seed, rank, index, u64::from(version)]);
        let mut dice = Pcg64Mcg::seed_from_u64(key);
        match self {
            SizeLaw::Fixed(bytes) => *bytes,
            SizeLaw::Lognormal(law, most) => (law.sample(&mut dice) as u64).clamp(1, *most),
            SizeLaw::Histogram(shares) => {
                let last = shares.last().expect("a histogram has an entry");
                let at = unit(&mut dice) * last.1;
                shares.iter().find(|(_, sum)| at < *sum).unwrap_or(last).0
            }
        }
    }

    /// The largest that can come.
    pub fn largest_bytes(&self) -> u64 {
        match self {
            SizeLaw::Fixed(bytes) | SizeLaw::Lognormal(_, bytes) => *bytes,
            SizeLaw::Histogram(shares) => shares.iter().map(|(bytes, _)| *bytes).max().unwrap_or(1),
        }
    }

    /// Their mean, as far as it is not cut.
    pub fn mean_bytes(&self, work: &ObjectWork) -> f64 {
        let total: f64 = work.sizes.iter().map(|share| share.weight).sum();
        match self {
            SizeLaw::Histogram(_) => {
                let weighed = work.sizes.iter().map(|share| share.size as f64 * share.weight);
                weighed.sum::<f64>() / total
            }
            _ => work.size as f64,
        }
    }
}

/// Bytes of a request: those of the largest object, as far as a request may be so large; whole
/// pages.
pub fn object_block_bytes(config: &Config) -> u64 {
    let most = config.write_io(&config.dataset.data_folder).block_size;
    if config.object.source == ObjectSource::List {
        // Their sizes are known only when they are listed.
        return most;
    }
    let largest = SizeLaw::new(&config.object).largest_bytes().max(config.object.range_size);
    largest.saturating_add(PAGE_BYTES - 1).min(most) / PAGE_BYTES * PAGE_BYTES
}

/// Bytes of all that a rank keeps for one object at most: version and place in two lists, or a
/// name of the longest that S3 allows with its size.
pub fn state_bytes_per_object(work: &ObjectWork) -> u64 {
    match work.source {
        ObjectSource::Own => 12,
        ObjectSource::Prepared => 0,
        ObjectSource::List => 1024 + 24,
    }
}

/// Name of an object, in the room of `name`.
pub fn object_name(rank: u64, index: u64, name: &mut String) {
    folder_name(rank, name);
    name.push('/');
    digits(index, 8, name);
}

/// Rank and index in an object's name; None: it is none.
pub fn object_of(name: &str) -> Option<(u64, u64)> {
    let (folder, index) = name.rsplit_once('/')?;
    let rank = folder.strip_prefix(OBJECT_FOLDER)?.strip_prefix("/r")?.parse().ok()?;
    let index = index.parse().ok()?;
    let mut again = String::new();
    object_name(rank, index, &mut again);
    (again == name).then_some((rank, index))
}

/// Name of the folder of a rank's objects, in the room of `name`.
pub fn folder_name(rank: u64, name: &mut String) {
    name.clear();
    name.push_str(OBJECT_FOLDER);
    name.push_str("/r");
    digits(rank, 5, name);
}

/// A number with zeros in front.
fn digits(value: u64, least: u32, out: &mut String) {
    let count = value.checked_ilog10().unwrap_or(0).max(least - 1);
    for place in (0..=count).rev() {
        let digit = value / 10u64.pow(place) % 10;
        out.push(char::from(b'0' + digit as u8));
    }
}

/// Number of an object's content, apart from those of datasets and checkpoints.
pub fn object_content_id(rank: u64, index: u64) -> u64 {
    key_of(&[SIZE_KEY, rank, index])
}

/// The section of `plan --json`.
pub(super) fn json(config: &Config, ranks: u64) -> Value {
    let work = &config.object;
    let law = SizeLaw::new(work);
    let objects = work.objects * ranks;
    json!({
        "objects": objects,
        "objects_per_rank": work.objects,
        "bytes_mean_per_object": law.mean_bytes(work),
        "bytes_max_per_object": law.largest_bytes(),
        "bytes": (law.mean_bytes(work) * objects as f64) as u64,
        "request_bytes": object_block_bytes(config),
        "in_flight_per_rank": work.in_flight,
        "rate_per_s": work.rate_per_s,
        "mix": work.mix,
        "source": work.source,
        "duration_s": work.duration_s,
        "operations_per_rank": work.operations,
    })
}

/// The same for a terminal: name and value.
pub(super) fn rows(config: &Config, ranks: u64) -> Vec<(&'static str, String)> {
    let work = &config.object;
    let law = SizeLaw::new(work);
    let objects = work.objects * ranks;
    let mean = law.mean_bytes(work);
    let total: f64 = work.mix.weights().iter().sum();
    let shares = ObjectOp::ALL.iter().zip(work.mix.weights());
    let shares = shares.filter(|(_, weight)| *weight > 0.0);
    let shares =
        shares.map(|(op, weight)| format!("{} {:.1} %", op.name(), 100.0 * weight / total));
    let shares = shares.collect::<Vec<_>>().join(", ");
    let pace = match work.rate_per_s {
        0.0 => format!("{} in flight on a rank", work.in_flight),
        rate => format!("{rate}/s by all ranks, at most {} in flight on one", work.in_flight),
    };
    let (all, each) = (grouped(objects), grouped(work.objects));
    let listed = vec![
        ("objects", format!("listed below the root: {all} at most ({each} on a rank)")),
        ("mix", shares.clone()),
        ("pace", pace.clone()),
    ];
    let counted = match work.source {
        ObjectSource::List => return listed,
        ObjectSource::Prepared => "those that `rankio datagen` made, read only".to_string(),
        ObjectSource::Own => format!("{all} ({each} on a rank)"),
    };
    vec![
        ("objects", counted),
        ("size", format!("mean {}, max {}", binary(mean), binary(law.largest_bytes() as f64))),
        ("bytes", binary(mean * objects as f64)),
        ("mix", shares),
        ("pace", pace),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Plan, WorldShape};
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn operations_come_by_their_weights() {
        let mix =
            ObjectMix { put: 10.0, get: 50.0, range: 0.0, head: 25.0, list: 5.0, delete: 10.0 };
        let mut draws = Mix::new(&mix, 1, 0);
        let mut counts = [0u64; 6];
        const N: u64 = 100_000;
        (0..N).for_each(|_| counts[draws.next_op() as usize] += 1);
        for (count, weight) in counts.iter().zip(mix.weights()) {
            let share = weight / 100.0;
            // Six standard deviations of a binomial count.
            let bound = 6.0 * (N as f64 * share * (1.0 - share)).sqrt();
            assert!((*count as f64 - N as f64 * share).abs() <= bound, "{counts:?}");
        }
        assert_eq!(counts[2], 0);
        let again = |rank| {
            let mut draws = Mix::new(&mix, 1, rank);
            (0..50).map(|_| draws.next_op()).collect::<Vec<_>>()
        };
        assert_eq!(again(0), again(0));
        assert_ne!(again(0), again(1));
    }

    #[test]
    fn arrivals_are_a_poisson_process_of_the_whole_rate() {
        let work = ObjectWork { rate_per_s: 4000.0, ..ObjectWork::default() };
        let mut all = Vec::new();
        for rank in 0..4 {
            let mut arrivals = Arrivals::new(&work, rank, 4).unwrap();
            while arrivals.next_ns() < 10_000_000_000 {
                all.push(arrivals.next_ns());
                arrivals.advance();
            }
        }
        // 40000 expected, standard deviation 200.
        assert!((38_800..41_200).contains(&all.len()), "{}", all.len());
        // In windows of 1 ms (mean 4) the variance is the mean.
        let mut windows = vec![0f64; 10_000];
        all.iter().for_each(|at| windows[(at / 1_000_000) as usize] += 1.0);
        let mean = windows.iter().sum::<f64>() / 10_000.0;
        let variance = windows.iter().map(|n| (n - mean).powi(2)).sum::<f64>() / 10_000.0;
        assert!((variance / mean - 1.0).abs() < 0.1, "{variance} {mean}");
        assert!(Arrivals::new(&ObjectWork::default(), 0, 1).is_none());
    }

    #[test]
    fn sizes_follow_their_law() {
        let mean_of = |work: &ObjectWork| {
            let law = SizeLaw::new(work);
            let sizes: Vec<u64> = (0..20_000).map(|index| law.bytes(1, 0, index, 0)).collect();
            assert!(sizes.iter().all(|size| (1..=law.largest_bytes()).contains(size)));
            (sizes.iter().sum::<u64>() as f64 / 20_000.0, sizes)
        };
        let fixed = ObjectWork { size: 5000, ..ObjectWork::default() };
        assert_eq!(mean_of(&fixed).0, 5000.0);
        let wide = ObjectWork { size: 100_000, size_stdev: 50_000, ..ObjectWork::default() };
        let (mean, sizes) = mean_of(&wide);
        assert!((mean / 100_000.0 - 1.0).abs() < 0.03, "{mean}");
        let variance = sizes.iter().map(|size| (*size as f64 - mean).powi(2)).sum::<f64>() / 2e4;
        assert!((variance.sqrt() / 50_000.0 - 1.0).abs() < 0.1, "{}", variance.sqrt());
        let share = |size, weight| SizeShare { size, weight };
        let sizes = vec![share(1000, 3.0), share(9000, 1.0)];
        let histogram = ObjectWork { sizes, ..ObjectWork::default() };
        let (mean, sizes) = mean_of(&histogram);
        assert_eq!(sizes.iter().collect::<BTreeSet<_>>().len(), 2);
        assert!((mean - 3000.0).abs() < 200.0, "{mean}");
        assert_eq!(SizeLaw::new(&histogram).mean_bytes(&histogram), 3000.0);
        let law = SizeLaw::new(&wide);
        assert_ne!(law.bytes(1, 0, 7, 1), law.bytes(1, 0, 7, 2), "a version has its own size");
    }

    #[test]
    fn the_plan_tells_of_the_objects_and_bounds_their_buffers() {
        let mut config = Config::default();
        (config.workflow.train, config.workflow.object) = (false, true);
        (config.object.objects, config.object.in_flight) = (1000, 10);
        let world = WorldShape { ranks: 4, hosts: 2, memory_per_host_bytes: 0 };
        let plan = Plan::new(&config, world).unwrap();
        let json = plan.to_json();
        assert_eq!((&json["object"]["objects"], json.get("dataset")), (&json!(4000), None));
        assert!(plan.to_text().contains("4,000 (1,000 on a rank)"), "{}", plan.to_text());
        // As many buffers as operations in flight, whatever the number of objects.
        let buffers = plan.memory().buffers_bytes;
        assert!((10 << 20..13 << 20).contains(&buffers), "{buffers}");
        let hash = plan.hash();
        config.object.mix.put += 1.0;
        assert_ne!(Plan::new(&config, world).unwrap().hash(), hash, "ranks must agree on the mix");
        config.object.in_flight = 999;
        config.io.max_buffer_bytes = 64 << 20;
        let said = Plan::new(&config, world).unwrap_err().to_string();
        assert!(said.contains("999 operations in flight") && said.contains("lower"), "{said}");
    }

    #[test]
    fn a_request_holds_the_largest_object_or_a_block() {
        let mut config = Config::default();
        config.dataset.data_folder = "s3://bench/x".into();
        (config.object.size, config.io.block_size) = (100_000, 1 << 20);
        assert_eq!(object_block_bytes(&config), 102_400);
        config.object.size = 100 << 20;
        assert_eq!(object_block_bytes(&config), 8 << 20, "a part of an upload");
        config.dataset.data_folder = "/mnt/x".into();
        assert_eq!(object_block_bytes(&config), 1 << 20);
        config.object.size = 1;
        config.object.range_size = 1;
        assert_eq!(object_block_bytes(&config), 4096);
    }

    proptest! {
        #[test]
        fn names_are_unique_and_sorted(a in 0u64..99_999, b in 0u64..1 << 24, c in 0u64..1 << 24) {
            let name = |rank, index| {
                let mut name = String::new();
                object_name(rank, index, &mut name);
                name
            };
            prop_assert_eq!(name(a, b), format!("objects/r{a:05}/{b:08}"));
            prop_assert_eq!(name(a, b) == name(a, c), b == c);
            prop_assert_eq!(object_of(&name(a, b)), Some((a, b)));
            let partial = format!("{}.partial", name(a, b));
            prop_assert_eq!(object_of(&partial), None);
        }

        #[test]
        fn draws_stay_below_their_limit(limit in 1u64..1 << 60) {
            let mut mix = Mix::new(&ObjectMix::default(), limit, 0);
            for _ in 0..20 {
                prop_assert!(mix.below(limit) < limit);
            }
        }
    }
}
