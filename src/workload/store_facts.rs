//! What many stores say of themselves as one statement.

use crate::storage::{EndpointFacts, StoreFacts};

/// One statement for many stores: the weakest of them holds, counts are added. Facts without an
/// engine are of no store.
pub fn merge_facts<'a>(all: impl Iterator<Item = &'a StoreFacts>) -> StoreFacts {
    let mut merged = None;
    all.for_each(|facts| merge_into(&mut merged, facts));
    merged.unwrap_or_default()
}

/// Adds the facts of one more store.
pub fn merge_into(merged: &mut Option<StoreFacts>, facts: &StoreFacts) {
    if facts.engine.is_empty() {
        return;
    }
    let Some(total) = merged else {
        *merged = Some(facts.clone());
        return;
    };
    if total.engine != facts.engine && !total.engine.split('+').any(|e| e == facts.engine) {
        total.engine = format!("{}+{}", total.engine, facts.engine);
    }
    total.direct = match (total.direct, facts.direct) {
        (Some(a), Some(b)) => Some(a && b),
        (a, b) => a.or(b),
    };
    total.registered_buffers &= facts.registered_buffers;
    if total.page_size != facts.page_size && !total.page_size.contains(&facts.page_size) {
        total.page_size = format!("{}+{}", total.page_size, facts.page_size);
    }
    total.alignment = total.alignment.max(facts.alignment);
    total.retried_operations += facts.retried_operations;
    total.buffer_bytes += facts.buffer_bytes;
    for (place, server) in facts.endpoints.iter().enumerate() {
        // Nearly always at the same place: there may be many servers and very many ranks.
        let same = |known: &EndpointFacts| known.url == server.url;
        let found = match total.endpoints.get(place).is_some_and(same) {
            true => Some(place),
            false => total.endpoints.iter().position(same),
        };
        match found {
            Some(place) => total.endpoints[place].add(server),
            None => total.endpoints.push(server.clone()),
        }
    }
    for sentence in &facts.fallbacks {
        if !total.fallbacks.contains(sentence) {
            total.fallbacks.push(sentence.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_and_buffers_of_threads_are_added() {
        let facts = StoreFacts {
            engine: "sync".into(),
            retried_operations: 2,
            buffer_bytes: 4096,
            ..StoreFacts::default()
        };
        let merged = merge_facts([&facts, &facts, &facts].into_iter());
        assert_eq!((merged.retried_operations, merged.buffer_bytes), (6, 12288));
        let none = StoreFacts::default();
        assert_eq!(merge_facts([&none, &facts, &none].into_iter()), facts);
    }
}
