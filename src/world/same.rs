//! Whether all ranks are the same program, started in the same way.
//!
//! Looked at before anything that could differ between two builds or two command lines: where one
//! rank does more collectives than the others, all of them wait for ever. The two collectives here
//! must stay as they are in every version, so that two versions understand each other this far.

use super::World;
use serde::{Deserialize, Serialize};

/// What a rank is and how it was started.
#[derive(Serialize, Deserialize)]
struct Start {
    host: String,
    build: String,
    options: Vec<String>,
}

impl World {
    /// Compares `build`, which says what this program is, and the words of its command line with
    /// those of rank 0. Collective, and the first after [`World::start`].
    ///
    /// # Errors
    /// On every rank, as that of [`World::agree`]: one of them is another program or was started
    /// with other options.
    pub fn same_start(&self, build: &str, options: &[String]) -> Result<(), (String, bool)> {
        let (host, build, options) = (self.host().into(), build.into(), options.to_vec());
        let own = Start { host, build, options };
        let told = serde_json::to_vec(&own).expect("plain data");
        let told = self.broadcast(told);
        let compared = serde_json::from_slice(&told)
            .map_err(|_| format!("rank 0 runs another rankio than {}", own.build))
            .and_then(|first| difference(&own, &first).map_or(Ok(()), Err));
        self.agree(compared)
    }
}

/// What `own` has that `first`, of rank 0, has not, or the other way round.
fn difference(own: &Start, first: &Start) -> Option<String> {
    let host = &first.host;
    if own.build != first.build {
        return Some(format!(
            "this rank runs {}, and rank 0 ({host}) runs {}; install one build on all hosts",
            own.build, first.build
        ));
    }
    if own.options == first.options {
        return None;
    }
    let only = |some: &[String], others: &[String]| {
        let missing = some.iter().filter(|word| !others.contains(word));
        missing.map(String::as_str).collect::<Vec<_>>().join(" ")
    };
    let (more, less) = (only(&own.options, &first.options), only(&first.options, &own.options));
    let what = match (more.as_str(), less.as_str()) {
        ("", "") => format!("the options of rank 0 ({host}) in another order"),
        (more, "") => format!("`{more}`, rank 0 ({host}) without"),
        ("", less) => format!("no `{less}`, rank 0 ({host}) with it"),
        (more, less) => format!("`{more}`, rank 0 ({host}) with `{less}`"),
    };
    Some(format!("this rank was started with {what}; start all ranks with the same command line"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(host: &str, build: &str, options: &[&str]) -> Start {
        let options = options.iter().map(|word| word.to_string()).collect();
        Start { host: host.into(), build: build.into(), options }
    }

    #[test]
    fn a_difference_names_both_and_the_host() {
        let first = start("node1", "rankio 0.1.0 (aa)", &["run", "a.yaml"]);
        let said =
            |build: &str, options: &[&str]| difference(&start("node2", build, options), &first);
        assert_eq!(said("rankio 0.1.0 (aa)", &["run", "a.yaml"]), None);
        let other = said("rankio 0.1.0 (bb)", &["run", "a.yaml"]).unwrap();
        for part in ["(aa)", "(bb)", "rank 0 (node1)", "one build"] {
            assert!(other.contains(part), "{other}");
        }
        let more = said("rankio 0.1.0 (aa)", &["run", "a.yaml", "--repeat", "2"]).unwrap();
        assert!(more.contains("with `--repeat 2`, rank 0 (node1) without;"), "{more}");
        let less = said("rankio 0.1.0 (aa)", &["run"]).unwrap();
        assert!(less.contains("with no `a.yaml`, rank 0 (node1) with it;"), "{less}");
        let both = said("rankio 0.1.0 (aa)", &["run", "b.yaml"]).unwrap();
        assert!(both.contains("with `b.yaml`, rank 0 (node1) with `a.yaml`;"), "{both}");
        let order = said("rankio 0.1.0 (aa)", &["a.yaml", "run"]).unwrap();
        assert!(order.contains("in another order"), "{order}");
    }
}
