//! Keys of a web identity under mpirun: taken for a token, renewed while a run goes on, refused in
//! one line, and never shown.

#![cfg(feature = "mpi")]

mod launch;
mod s3;

use launch::{Job, Lab, holds, mpirun_is_there};
use s3::{Server, TOKEN, Tokens};
use std::time::Duration;
use tempfile::NamedTempFile;

type Environment = Vec<(&'static str, String)>;

/// A server, its service of tokens, and what a client needs of both.
struct Service {
    server: Server,
    tokens: Tokens,
    environment: Environment,
    /// Holds the token, apart from what jobs write.
    _file: NamedTempFile,
}

impl Service {
    fn start(life_s: u64) -> Service {
        let server = Server::start(0);
        let tokens = Tokens::start(server.memory.clone(), Duration::from_secs(life_s));
        let file = NamedTempFile::new().unwrap();
        std::fs::write(file.path(), TOKEN).unwrap();
        let mut environment = server.environment();
        environment.extend(tokens.environment(file.path().to_str().unwrap()));
        Service { server, tokens, environment, _file: file }
    }
}

fn job(lab: &Lab, ranks: usize, command: &str, id: &str, sets: &[&str]) -> Job {
    let mut words = vec!["--data-dir", "s3://bench/data"];
    words.extend(sets.iter().flat_map(|text| ["--set", *text]));
    lab.job(ranks, command, id, &words)
}

#[test]
fn keys_are_renewed_while_a_run_goes_on() {
    if !mpirun_is_there() {
        return;
    }
    for client in ["raw", "sdk"].into_iter().filter(|c| *c == "raw" || cfg!(feature = "sdk")) {
        let lab = Lab::new();
        let service = Service::start(2);
        let Service { server, tokens, environment, .. } = &service;
        let client = format!("storage.client={client}");
        job(&lab, 2, "datagen", "g", &[&client]).with(environment).succeed();
        let before = server.memory.signers();
        // About five seconds, in which each rank has one session after the other.
        let slow = [client.as_str(), "train.epochs=4", "train.computation_time=0.4"];
        job(&lab, 2, "run", "t", &slow).with(environment).succeed();
        let phase = lab.phase("t", "training");
        let endpoint = &phase["storage"]["endpoints"][0];
        assert_eq!((&endpoint["errors"], &phase["ops"]["retries"]), (&0.into(), &0.into()));
        let signers: Vec<String> =
            server.memory.signers().into_iter().filter(|key| !before.contains(key)).collect();
        // Two for each rank may have been taken before its first read.
        assert!(signers.len() > 4, "{signers:?} of {}", tokens.given());
        assert!(signers.iter().all(|key| key.starts_with("sessionkey")), "{signers:?}");
        let folder = lab.path("");
        for secret in [TOKEN, "SessionSecret", "SessionToken-", "sessionkey"] {
            assert_eq!(holds(&folder, secret), Vec::<String>::new(), "{secret}");
        }
        assert!(!holds(&folder, "s3://bench").is_empty(), "the search finds what is there");
    }
}

#[test]
fn keys_of_the_environment_go_before_and_a_profile_behind() {
    let lab = Lab::new();
    let Service { server, tokens, mut environment, _file } = Service::start(3600);
    environment.push(("AWS_SHARED_CREDENTIALS_FILE", lab.arg("no such file")));
    job(&lab, 1, "datagen", "web", &[]).plain().with(&environment).succeed();
    assert_eq!((tokens.given(), server.memory.signers()), (1, vec!["sessionkey0".to_string()]));
    environment.extend(server.environment());
    job(&lab, 1, "run", "keys", &[]).plain().with(&environment).succeed();
    assert_eq!(tokens.given(), 1, "nobody asked");
}

#[test]
fn what_is_wrong_with_a_token_is_one_line_without_it() {
    let lab = Lab::new();
    let Service { server: _server, tokens, environment, _file } = Service::start(3600);
    let said = |name: &'static str, value: String, words: &[&str]| {
        let mut environment = environment.clone();
        environment.push((name, value));
        let ended = job(&lab, 1, "run", "no", &[]).plain().with(&environment).fail_with(2);
        ended.one_error(words);
        assert!(!ended.err.contains("NobodyMaySee"), "{ended}");
    };
    let file = "AWS_WEB_IDENTITY_TOKEN_FILE";
    said(file, lab.arg("absent"), &[file, "absent", "No such file"]);
    said("AWS_ROLE_ARN", String::new(), &["AWS_ROLE_ARN is not set"]);
    said("AWS_ENDPOINT_URL_STS", "nowhere".into(), &["AWS_ENDPOINT_URL_STS: `nowhere`"]);
    let refused = ["AssumeRoleWithWebIdentity of", "HTTP 400 InvalidIdentityToken: (hidden)"];
    said("AWS_ROLE_SESSION_NAME", "unknown".into(), &refused);
    assert_eq!(tokens.given(), 0);
}
