//! `--compare`: one workload by each of two clients of object stores, in turn.
//!
//! A round is a run by each of them with the same orders; every other round begins with the other
//! one, so that a store that becomes slower or faster in the course of the job favours neither.

use super::run::{Finished, Request};
use super::series::{Series, conclude};
use crate::config::{Config, Engine, Loaded, ObjectClient, ObjectOptions};
use crate::plan::Plan;
use crate::report::compare::{ClientRun, CompareReport};
use crate::report::screen;
use crate::storage::check_object_uri;
use crate::world::World;

/// What is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Comparison {
    /// The two clients, the one whose figures are divided by the other's first.
    pub clients: [ObjectClient; 2],
    /// Rounds that count for nothing, before the others.
    pub warmup_rounds: u64,
    /// Rounds that count.
    pub rounds: u64,
}

impl Comparison {
    /// The clients of a round in their order.
    fn order(&self, round: u64) -> [ObjectClient; 2] {
        let [first, second] = self.clients;
        if round.is_multiple_of(2) { [first, second] } else { [second, first] }
    }
}

/// Whether there is anything to compare.
///
/// # Errors
/// One line: nothing lies on a store that both clients speak with, a client that is not in this
/// program, objects that one run would leave to the next.
pub fn check(config: &Config, comparison: &Comparison) -> Result<(), String> {
    let workflow = &config.workflow;
    if !(workflow.train || workflow.checkpoint || workflow.object) {
        return Err("--compare needs a training, checkpoints or the object benchmark: set \
                    workflow.train, workflow.checkpoint or workflow.object to True"
            .into());
    }
    let uses_data = workflow.train || workflow.object;
    let roots = [
        uses_data.then_some(&config.dataset.data_folder),
        workflow.checkpoint.then_some(&config.checkpoint.checkpoint_folder),
    ];
    let objects = || roots.into_iter().flatten().filter(|root| root.starts_with("s3://"));
    if objects().count() == 0 || config.io.engine == Engine::Null {
        return Err("--compare is about clients of s3://, and nothing of this run lies there; \
                    give s3://BUCKET/PREFIX as --data-dir or --checkpoint-dir"
            .into());
    }
    if workflow.object && config.object.keep {
        return Err("object.keep: with --compare each run removes its objects, so that the next \
                    one begins like it; leave it out"
            .into());
    }
    for client in comparison.clients {
        let options = ObjectOptions { client, ..config.storage.storage_options.clone() };
        for root in objects() {
            check_object_uri(root, &options)
                .map_err(|what| what.replacen("storage.client", "--compare", 1))?;
        }
    }
    Ok(())
}

/// `--compare`: all rounds, and what came out. Collective.
pub fn compare(
    world: &World,
    loaded: &Loaded,
    plan: &Plan,
    request: &Request,
    comparison: &Comparison,
) -> Result<Finished, String> {
    let (series, interrupted) = Series::begin(world, loaded, plan, request)?;
    if let Some(finished) = interrupted {
        return Ok(finished);
    }
    let Comparison { clients, warmup_rounds, rounds } = *comparison;
    let mut report = CompareReport {
        id: series.claimed.name.clone(),
        command: request.command.clone(),
        ranks: world.size(),
        hosts: world.hosts(),
        clients: clients.map(|client| client.name().to_string()),
        warmup_rounds,
        rounds,
        ..CompareReport::default()
    };
    'rounds: for round in 0..warmup_rounds + rounds {
        for client in comparison.order(round) {
            report.partial = series.is_over();
            if report.partial {
                break 'rounds;
            }
            let choose = |config: &mut Config| config.storage.storage_options.client = client;
            let finished = series.run_in(client.name(), round, choose)?;
            if let Some(written) = &finished.written {
                let folder = series.below(&written.folder);
                let run = ClientRun::of(&written.result, &folder, (round, round < warmup_rounds));
                screen::print(&run.line())?;
                report.runs.push(run);
            }
            report.partial = finished.partial;
            if report.partial {
                break 'rounds;
            }
        }
    }
    if world.is_root() {
        report.evaluate();
        let folder = &series.claimed.path;
        conclude(folder, &report.text(), || report.write(folder))?;
    }
    series.end(report.partial)?;
    // Only rank 0 has the runs; the others learn what it found.
    let status = super::results::told_by_root(world, report.status());
    Ok(Finished { status, partial: report.partial, written: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: Comparison =
        Comparison { clients: [ObjectClient::Sdk, ObjectClient::Raw], warmup_rounds: 0, rounds: 3 };

    #[test]
    fn every_other_round_begins_with_the_other_client() {
        let (sdk, raw) = (ObjectClient::Sdk, ObjectClient::Raw);
        let orders: Vec<_> = (0..4).map(|round| BOTH.order(round)).collect();
        assert_eq!(orders, [[sdk, raw], [raw, sdk], [sdk, raw], [raw, sdk]]);
    }

    #[test]
    fn what_cannot_be_compared_is_said_in_one_line() {
        let mut config = Config::default();
        config.workflow.train = true;
        config.dataset.data_folder = "/mnt/x".into();
        assert!(check(&config, &BOTH).unwrap_err().contains("nothing of this run lies there"));
        config.checkpoint.checkpoint_folder = "s3://bench/ck".into();
        assert!(check(&config, &BOTH).is_err(), "no checkpoints are written");
        config.dataset.data_folder = "s3://bench/x".into();
        assert_eq!(check(&config, &BOTH).is_ok(), cfg!(feature = "sdk"));
        config.workflow.train = false;
        assert!(check(&config, &BOTH).unwrap_err().contains("needs a training"));
        config.workflow.object = true;
        config.object.keep = true;
        assert!(check(&config, &BOTH).unwrap_err().starts_with("object.keep: "));
    }
}
