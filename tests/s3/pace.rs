//! How fast the server answers, and which requests it keeps until they are together.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::Barrier;

/// A gate opens after this time, whoever is missing.
const GATE_OPENS: Duration = Duration::from_secs(20);

/// The pace of all doors of a store.
#[derive(Default)]
pub struct Pace {
    /// Every answer comes so much later.
    pub latency_ms: AtomicU64,
    gate: Mutex<Option<(&'static str, Arc<Barrier>)>>,
    late: AtomicU64,
}

impl Pace {
    /// From now on requests of `kind` (`create`, `head`) are answered when `count` of them are
    /// there, and the next `count` of them again.
    pub fn keep_together(&self, kind: &'static str, count: usize) {
        *self.gate.lock().unwrap() = Some((kind, Arc::new(Barrier::new(count))));
    }

    /// Requests that waited in vain for the others.
    pub fn waited_in_vain(&self) -> u64 {
        self.late.load(Ordering::Relaxed)
    }

    /// Holds a request up.
    pub async fn hold<B>(&self, request: &hyper::Request<B>) {
        let latency_ms = self.latency_ms.load(Ordering::Relaxed);
        if latency_ms > 0 {
            tokio::time::sleep(Duration::from_millis(latency_ms)).await;
        }
        let gate = self.gate.lock().unwrap().clone();
        let query = request.uri().query().unwrap_or_default();
        let kind = match request.method().as_str() {
            "HEAD" => "head",
            "POST" if query.starts_with("uploads") => "create",
            _ => return,
        };
        if let Some((_, barrier)) = gate.filter(|(kept, _)| *kept == kind)
            && tokio::time::timeout(GATE_OPENS, barrier.wait()).await.is_err()
        {
            self.late.fetch_add(1, Ordering::Relaxed);
        }
    }
}
