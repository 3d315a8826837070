//! Google's dialect: its XML interface is Amazon's with other headers, so they are translated. Not
//! a judge of what Google's servers do, but of what a client sends and reads.

use super::store::{self, Memory};
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use s3s::service::S3ServiceBuilder;
use std::sync::Arc;
use std::sync::atomic::Ordering;

pub(super) async fn serve(listener: tokio::net::TcpListener, memory: Arc<Memory>) {
    let service = S3ServiceBuilder::new(store::Handle(memory.clone())).build();
    loop {
        let Ok((socket, _)) = listener.accept().await else { continue };
        let _ = socket.set_nodelay(true);
        memory.connections.fetch_add(1, Ordering::Relaxed);
        let service = service.clone();
        tokio::spawn(async move {
            let translated = service_fn(move |mut request| {
                translate(&mut request);
                Service::call(&service, request)
            });
            let http = auto::Builder::new(TokioExecutor::new());
            // A client that goes away is no error of the server.
            let _ = http.serve_connection(TokioIo::new(socket), translated).await;
        });
    }
}

fn translate(request: &mut hyper::Request<hyper::body::Incoming>) {
    let headers = request.headers_mut();
    headers.remove("authorization");
    if let Some(source) = headers.remove("x-goog-copy-source") {
        headers.insert("x-amz-copy-source", source);
    }
    // Generation 0 is that of an object which is not there.
    if headers.remove("x-goog-if-generation-match").is_some_and(|value| value == "0") {
        headers.insert("if-none-match", "*".parse().expect("a star is a value"));
    }
}
