//! An S3 server in memory for tests and benchmarks: `s3s` speaks the protocol and checks the
//! signatures, this keeps the objects and breaks things when it is told to.

// Each program uses a part of this.
#![allow(dead_code, unused_imports)]

mod faults;
mod google;
mod pace;
mod store;
mod tokens;

pub use faults::{Fault, Kind};
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use s3s::service::S3ServiceBuilder;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
pub use store::Memory;
pub use tokens::{TOKEN, Tokens};
use tokio_rustls::{TlsAcceptor, rustls};

/// Access key that the server takes.
pub const ACCESS_KEY: &str = "rankiotestkey";
/// Its secret: made up, but nothing may ever print it.
pub const SECRET_KEY: &str = "SeCrEt0123456789ThatNobodyMaySee";
/// The bucket that is there.
pub const BUCKET: &str = "bench";

/// What a server speaks.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Speaks {
    Amazon,
    Google,
}

/// A server on a port of its own; it ends with the value.
pub struct Server {
    /// Where it listens.
    pub address: SocketAddr,
    /// What it holds, and its faults.
    pub memory: Arc<Memory>,
    is_tls: bool,
    speaks: Speaks,
    _runtime: tokio::runtime::Runtime,
}

impl Server {
    /// Starts one. `part_bytes_min`: smallest part of an upload that is not its last (5 MiB at
    /// Amazon).
    pub fn start(part_bytes_min: usize) -> Server {
        Self::listen("127.0.0.1:0", part_bytes_min)
    }

    /// The same at a given address.
    pub fn listen(address: &str, part_bytes_min: usize) -> Server {
        Server::over(address, Arc::new(Memory::new(part_bytes_min)))
    }

    /// Another door of the same store.
    pub fn door(&self) -> Server {
        self.door_at("127.0.0.1:0")
    }

    /// The same at a given address.
    pub fn door_at(&self, address: &str) -> Server {
        Server::with(address, self.memory.clone(), None, self.speaks)
    }

    /// One that speaks Google's dialect of the protocol, and asks for no key.
    pub fn start_google(part_bytes_min: usize) -> Server {
        let memory = Arc::new(Memory::new(part_bytes_min));
        Server::with("127.0.0.1:0", memory, None, Speaks::Google)
    }

    /// One that speaks TLS with this certificate and key.
    pub fn start_tls(tls: rustls::ServerConfig) -> Server {
        let tls = Some(tokio_rustls::TlsAcceptor::from(Arc::new(tls)));
        Server::with("127.0.0.1:0", Arc::new(Memory::new(0)), tls, Speaks::Amazon)
    }

    fn over(address: &str, memory: Arc<Memory>) -> Server {
        Server::with(address, memory, None, Speaks::Amazon)
    }

    fn with(
        address: &str,
        memory: Arc<Memory>,
        tls: Option<TlsAcceptor>,
        speaks: Speaks,
    ) -> Server {
        let is_tls = tls.is_some();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime can be made");
        let listener = runtime.block_on(tokio::net::TcpListener::bind(address));
        let listener = listener.unwrap_or_else(|error| panic!("{address}: {error}"));
        let address = listener.local_addr().expect("a listener has an address");
        match speaks {
            Speaks::Amazon => runtime.spawn(serve(listener, memory.clone(), tls)),
            Speaks::Google => runtime.spawn(google::serve(listener, memory.clone())),
        };
        Server { address, memory, is_tls, speaks, _runtime: runtime }
    }

    /// `http://127.0.0.1:PORT`, or `https://localhost:PORT`.
    pub fn url(&self) -> String {
        match self.is_tls {
            true => format!("https://localhost:{}", self.address.port()),
            false => format!("http://{}", self.address),
        }
    }

    /// The environment of a client.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        if self.speaks == Speaks::Google {
            return vec![("STORAGE_EMULATOR_HOST", self.url())];
        }
        vec![
            ("AWS_ENDPOINT_URL", self.url()),
            ("AWS_ACCESS_KEY_ID", ACCESS_KEY.into()),
            ("AWS_SECRET_ACCESS_KEY", SECRET_KEY.into()),
            ("AWS_REGION", "us-east-1".into()),
        ]
    }
}

async fn serve(listener: tokio::net::TcpListener, memory: Arc<Memory>, tls: Option<TlsAcceptor>) {
    let mut builder = S3ServiceBuilder::new(store::Handle(memory.clone()));
    builder.set_auth(store::Handle(memory.clone()));
    let service = builder.build();
    loop {
        let Ok((socket, _)) = listener.accept().await else { continue };
        let _ = socket.set_nodelay(true);
        memory.connections.fetch_add(1, Ordering::Relaxed);
        let (service, memory, tls) = (service.clone(), memory.clone(), tls.clone());
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let (service, memory) = (service.clone(), memory.clone());
                async move {
                    memory.pace.hold(&request).await;
                    Service::call(&service, request).await
                }
            });
            let http = auto::Builder::new(TokioExecutor::new());
            // A client that goes away is no error of the server.
            let _ = match tls {
                None => http.serve_connection(TokioIo::new(socket), service).await,
                Some(tls) => match tls.accept(socket).await {
                    Ok(socket) => http.serve_connection(TokioIo::new(socket), service).await,
                    Err(_) => Ok(()),
                },
            };
        });
    }
}
