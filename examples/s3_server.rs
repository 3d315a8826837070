//! The in-memory S3 server of the tests as a program, for a first try and for benchmarks:
//! `cargo run --release --example s3_server -- 127.0.0.1:9000`. It prints the environment that a
//! client needs, and runs until it is ended. What is stored is lost with it.

#[path = "../tests/s3/mod.rs"]
mod s3;

/// Amazon's rule.
const PART_BYTES_MIN: usize = 5 << 20;

fn main() {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:9000".into());
    let server = s3::Server::listen(&address, PART_BYTES_MIN);
    for (name, value) in server.environment() {
        println!("export {name}={value}");
    }
    println!("# bucket: s3://{}", s3::BUCKET);
    loop {
        std::thread::park();
    }
}
