//! Requests that somebody waits for: names, sizes, listings, beginning and end of uploads. What is
//! in flight goes on meanwhile.

use super::client::Client;
use super::completion::may_be_done;
use super::exchange::{Asker, Exchange, Tag};
use super::sign::encode;
use super::upload::{Object, Way};
use super::{ObjectStore, xml};
use crate::storage::{PAGE_NAMES, StorageError};
use std::time::Duration;

/// How long a turn may wait.
pub(super) const TURN: Duration = Duration::from_millis(250);

/// An answer that was waited for.
pub(super) struct Reply {
    pub status: u16,
    pub text: Vec<u8>,
    pub content_length: u64,
    pub tag: Tag,
    /// How often the request was sent.
    pub sends: u32,
    /// Why there is none.
    pub failure: Option<String>,
}

impl ObjectStore {
    /// Sends a request and waits for its answer.
    pub(super) fn call(
        &mut self,
        verb: &'static str,
        path: &[u8],
        fill: impl FnOnce(&mut Exchange),
    ) -> Result<Reply, StorageError> {
        let index = self.client.slot(Asker::Caller, verb);
        let index = index.expect("one slot more than operations is kept for calls");
        let exchange = self.client.exchange(index);
        exchange.path.extend_from_slice(path);
        fill(exchange);
        self.client.begin(index);
        self.called = None;
        loop {
            self.settle_done();
            if self.called == Some(index) {
                break;
            }
            self.turn(Some(TURN))?;
        }
        let exchange = self.client.exchange(index);
        let reply = Reply {
            status: exchange.answer.status,
            text: exchange.answer.text.clone(),
            content_length: exchange.answer.content_length.unwrap_or(0),
            tag: exchange.answer.tag,
            sends: exchange.sends,
            failure: exchange.failure.take(),
        };
        self.client.release(index);
        Ok(reply)
    }

    /// Size of an object, None if it is not there.
    pub(super) fn head(
        &mut self,
        op: &'static str,
        name: &str,
    ) -> Result<Option<u64>, StorageError> {
        let path = self.key_path(op, name, Vec::new())?;
        let reply = self.call("HEAD", &path, |_| ())?;
        match (reply.status, reply.failure) {
            (404, _) => Ok(None),
            (_, None) => Ok(Some(reply.content_length)),
            (status, Some(what)) => Err(self.error(op, name, None, status, &what)),
        }
    }

    /// Gives an upload up, so that the server forgets its parts.
    pub(super) fn abort_upload(&mut self, object: &Object) -> Result<(), StorageError> {
        match &object.way {
            Way::Parts { id, .. } if !id.is_empty() => self.abort(&object.name, &object.path, id),
            _ => Ok(()),
        }
    }

    fn abort(&mut self, name: &str, path: &[u8], id: &str) -> Result<(), StorageError> {
        let reply = self.call("DELETE", path, |x| upload_query(&mut x.query, id))?;
        match reply.failure {
            Some(what) if reply.status != 404 => {
                Err(self.error("abort", name, None, reply.status, &what))
            }
            _ => Ok(()),
        }
    }

    /// Gives up the uploads below the root for whose names `ours` is true; None if the server does
    /// not list uploads.
    pub(super) fn abort_listed(
        &mut self,
        ours: &dyn Fn(&str) -> bool,
    ) -> Result<Option<u64>, StorageError> {
        let prefix = self.place.prefix.clone();
        let (mut after, mut aborted) = ((String::new(), String::new()), 0);
        loop {
            let query = uploads_query(&prefix, &after);
            let reply = self.call("GET", self.bucket_path, |exchange| exchange.query = query)?;
            if let Some(what) = reply.failure {
                return match reply.status {
                    400 | 404 | 405 | 501 if !what.contains("NoSuchBucket") => Ok(None),
                    status => Err(self.error("list uploads of", "", None, status, &what)),
                };
            }
            let page = xml::uploads(&reply.text);
            let page = page.map_err(|what| self.error("list uploads of", "", None, 0, &what))?;
            for (key, id) in &page.uploads {
                let Some(name) = key.strip_prefix(&prefix).filter(|name| ours(name)) else {
                    continue;
                };
                let path = self.key_path("abort", name, Vec::new())?;
                self.abort(name, &path, id)?;
                aborted += 1;
            }
            match page.next {
                // A server that answers the same page for ever is not asked for ever.
                Some(next) if next != after => after = next,
                _ => return Ok(Some(aborted)),
            }
        }
    }

    /// Makes a new object visible, and waits for it.
    pub(super) fn commit_and_wait(&mut self, object: &Object) -> Result<(), StorageError> {
        let verb = if matches!(object.way, Way::Parts { .. }) { "POST" } else { "PUT" };
        let reply = self.call(verb, &object.path, |exchange| commit_body(object, exchange))?;
        let failure = match may_be_done(verb, reply.sends, reply.failure.as_deref()) {
            true => self.look_for_object(object)?,
            false => reply.failure,
        };
        match failure {
            Some(what) => Err(self.error("close", &object.name, None, reply.status, &what)),
            None => Ok(()),
        }
    }

    /// Removes an object that is there.
    pub(super) fn delete(&mut self, name: &str) -> Result<(), StorageError> {
        let path = self.key_path("remove", name, Vec::new())?;
        let reply = self.call("DELETE", &path, |_| ())?;
        match reply.failure {
            Some(what) => Err(self.error("remove", name, None, reply.status, &what)),
            None => Ok(()),
        }
    }

    /// Removes up to [`PAGE_NAMES`] objects that may be there, by one request.
    pub(super) fn delete_many(&mut self, names: &[String]) -> Result<(), StorageError> {
        if names.is_empty() {
            return Ok(());
        }
        if names.len() > PAGE_NAMES {
            let what = format!("{} names for one request; give at most {PAGE_NAMES}", names.len());
            return Err(self.error("remove", "", None, 0, &what));
        }
        let mut body = Vec::new();
        let mut keys = Vec::with_capacity(names.len());
        for name in names {
            // Only for its check of the name.
            self.key_path("remove", name, Vec::new())?;
            keys.push(format!("{}{name}", self.place.prefix));
        }
        xml::removal(keys.iter().map(String::as_str), &mut body);
        let reply = self.call("POST", self.bucket_path, |exchange| {
            exchange.query.extend_from_slice(b"delete=");
            (exchange.body, exchange.with_md5) = (body, true);
        })?;
        if let Some(what) = reply.failure {
            return Err(self.error("remove", &names[0], None, reply.status, &what));
        }
        match xml::not_removed(&reply.text) {
            Ok(None) => Ok(()),
            Ok(Some((key, what))) => {
                let name = key.strip_prefix(&self.place.prefix).unwrap_or(&key).to_string();
                let status = if what.starts_with("AccessDenied") { 403 } else { 500 };
                Err(self.error("remove", &name, None, status, &what))
            }
            Err(what) => Err(self.error("remove", &names[0], None, 0, &what)),
        }
    }

    /// Copies an object on the server.
    pub(super) fn copy(&mut self, from: &str, to: &str) -> Result<(), StorageError> {
        let source = self.key_path("rename", from, Vec::new())?;
        let target = self.key_path("rename", to, Vec::new())?;
        let mut copy_source = Client::copy_base(&self.place.bucket);
        copy_source.extend_from_slice(&source);
        let reply = self.call("PUT", &target, |exchange| exchange.copy_source = copy_source)?;
        match reply.failure {
            Some(what) => Err(self.error("rename", from, None, reply.status, &what)),
            None => Ok(()),
        }
    }

    /// Visits the names in a folder, page by page, until `visit` says false.
    pub(super) fn list_pages(
        &mut self,
        folder: &str,
        visit: &mut dyn FnMut(&str, bool) -> bool,
    ) -> Result<(), StorageError> {
        let mut goes_on = true;
        let slash = if folder.is_empty() { "" } else { "/" };
        let prefix = format!("{}{folder}{slash}", self.place.prefix);
        let parts = [self.place.prefix.clone(), format!("{folder}{slash}")];
        let mut token: Option<String> = None;
        loop {
            // Without a key the path is that of the bucket.
            let reply = self.call("GET", self.bucket_path, |exchange| {
                list_query(parts.each_ref().map(String::as_str), token.as_deref(), exchange);
            })?;
            if let Some(what) = reply.failure {
                return Err(self.error("list", folder, None, reply.status, &what));
            }
            let next = xml::page(&reply.text, &mut |key, is_folder| {
                let name = key.strip_prefix(&prefix).unwrap_or("").trim_end_matches('/');
                if goes_on && !name.is_empty() {
                    goes_on = visit(name, is_folder);
                }
            });
            token = next.map_err(|what| self.error("list", folder, None, 0, &what))?;
            if token.is_none() || !goes_on {
                return Ok(());
            }
        }
    }
}

/// The parameters of a page of a listing; the prefix in two parts.
pub(super) fn list_query(prefix: [&str; 2], token: Option<&str>, exchange: &mut Exchange) {
    let query = &mut exchange.query;
    if let Some(token) = token {
        query.extend_from_slice(b"continuation-token=");
        encode(token, false, query);
        query.push(b'&');
    }
    query.extend_from_slice(b"delimiter=%2F&list-type=2&prefix=");
    prefix.into_iter().for_each(|part| encode(part, false, query));
}

/// Parameters in the order of their names, as they are signed.
fn uploads_query(prefix: &str, (key, id): &(String, String)) -> Vec<u8> {
    let mut query = Vec::new();
    let mut add = |name: &str, value: &str| {
        query.extend_from_slice(name.as_bytes());
        encode(value, false, &mut query);
    };
    if !key.is_empty() {
        add("key-marker=", key);
        add("&", "");
    }
    add("prefix=", prefix);
    if !id.is_empty() {
        add("&upload-id-marker=", id);
    }
    add("&uploads=", "");
    query
}

/// `uploadId=...`.
pub(super) fn upload_query(query: &mut Vec<u8>, id: &str) {
    query.extend_from_slice(b"uploadId=");
    encode(id, false, query);
}

/// Body and parameters of the request that makes an object visible.
pub(super) fn commit_body(object: &Object, exchange: &mut Exchange) {
    match &object.way {
        Way::Parts { id, tags } => {
            upload_query(&mut exchange.query, id);
            let parts = tags.iter().zip(1..).map(|(tag, number)| (number, tag.as_str()));
            xml::completion(parts.filter(|(_, tag)| !tag.is_empty()), &mut exchange.body);
        }
        Way::Staged(bytes) => exchange.body.extend_from_slice(bytes),
        Way::Whole | Way::Reading => {}
    }
    exchange.only_new = object.only_new && !matches!(object.way, Way::Parts { .. });
}
