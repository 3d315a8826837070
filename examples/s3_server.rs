//! The in-memory S3 server of the tests as a program, for a first try and for benchmarks. What is
//! stored is lost with it.

#[path = "../tests/s3/mod.rs"]
mod s3;

const USAGE: &str = "\
An S3 server in memory, for a first try and for benchmarks. It prints the environment that a client
needs and runs until it is ended; what is stored is lost with it.

Usage: cargo run --release --example s3_server -- [ADDRESS:PORT]...

Several addresses are doors of one store; without one it listens at 127.0.0.1:9000.
Port 0 takes a free one.";

/// Amazon's rule.
const PART_BYTES_MIN: usize = 5 << 20;

fn main() {
    let mut addresses: Vec<String> = std::env::args().skip(1).collect();
    if addresses.iter().any(|word| word == "--help" || word == "-h") {
        return println!("{USAGE}");
    }
    if let Some(word) = addresses.iter().find(|word| !word.contains(':')) {
        eprintln!("s3_server: {word}: is no ADDRESS:PORT; see --help");
        std::process::exit(2);
    }
    if addresses.is_empty() {
        addresses.push("127.0.0.1:9000".into());
    }
    let first = s3::Server::listen(&addresses[0], PART_BYTES_MIN);
    let others: Vec<_> = addresses[1..].iter().map(|address| first.door_at(address)).collect();
    for (name, value) in first.environment() {
        println!("export {name}={value}");
    }
    println!("# bucket: s3://{}", s3::BUCKET);
    if !others.is_empty() {
        let urls: Vec<_> = std::iter::once(&first).chain(&others).map(s3::Server::url).collect();
        println!("# all doors: storage.storage_options.endpoint_uris=[{}]", urls.join(", "));
    }
    loop {
        std::thread::park();
    }
}
