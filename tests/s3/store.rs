//! The objects and the operations on them.

use super::faults::{Fault, Faults, Kind};
use bytes::Bytes;
use futures::{StreamExt, stream};
use s3s::auth::{S3Auth, SecretKey};
use s3s::dto::*;
use s3s::{S3, S3Error, S3ErrorCode, S3Request, S3Response, S3Result, s3_error};
use std::collections::BTreeMap;
use std::io::Error as IoError;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, UNIX_EPOCH};

const PAGE_KEYS: usize = 1000;
const PAGE_UPLOADS: usize = 3;
const SLOW_PIECES: usize = 4;

type Parts = BTreeMap<i32, Bytes>;

/// Everything the server holds.
#[derive(Default)]
pub struct Memory {
    objects: Mutex<BTreeMap<String, Bytes>>,
    uploads: Mutex<BTreeMap<String, (String, Parts)>>,
    part_bytes_min: usize,
    faults: Faults,
    requests: Mutex<BTreeMap<&'static str, u64>>,
    /// Secrets of sessions by their access keys.
    sessions: Mutex<BTreeMap<String, String>>,
    /// Requests by the access key that signed them.
    signed: Mutex<BTreeMap<String, u64>>,
    /// Connections that were opened.
    pub connections: AtomicU64,
    next_upload: AtomicU64,
}

impl Memory {
    /// Empty.
    pub fn new(part_bytes_min: usize) -> Memory {
        Memory { part_bytes_min, ..Memory::default() }
    }

    /// Breaks something.
    pub fn inject(&self, fault: Fault) {
        self.faults.add(fault);
    }

    /// Breaks nothing more.
    pub fn clear_faults(&self) {
        self.faults.clear();
    }

    /// The object `key` of the bucket.
    pub fn get(&self, key: &str) -> Option<Bytes> {
        self.objects.lock().unwrap().get(key).cloned()
    }

    /// Puts an object there, past the protocol.
    pub fn put(&self, key: &str, bytes: Vec<u8>) {
        self.objects.lock().unwrap().insert(key.into(), bytes.into());
    }

    /// Removes one.
    pub fn remove(&self, key: &str) {
        self.objects.lock().unwrap().remove(key);
    }

    /// All keys.
    pub fn keys(&self) -> Vec<String> {
        self.objects.lock().unwrap().keys().cloned().collect()
    }

    /// Begins an upload that nobody will complete, past the protocol.
    pub fn leave_upload(&self, key: &str) {
        let id = format!("left-{}", self.next_upload.fetch_add(1, Ordering::Relaxed));
        self.uploads.lock().unwrap().insert(id, (key.into(), Parts::new()));
    }

    /// Uploads that were neither completed nor aborted.
    pub fn open_uploads(&self) -> usize {
        self.open_uploads_below("")
    }

    /// Those of keys that begin so.
    pub fn open_uploads_below(&self, prefix: &str) -> usize {
        let uploads = self.uploads.lock().unwrap();
        uploads.values().filter(|(key, _)| key.starts_with(prefix)).count()
    }

    /// Requests of one kind that came.
    pub fn requests(&self, op: &str) -> u64 {
        self.requests.lock().unwrap().get(op).copied().unwrap_or(0)
    }

    /// Requests that came, of all kinds together.
    pub fn all_requests(&self) -> u64 {
        self.requests.lock().unwrap().values().sum()
    }

    /// Takes requests that are signed with these keys too.
    pub fn admit(&self, access_key: &str, secret_key: &str) {
        self.sessions.lock().unwrap().insert(access_key.into(), secret_key.into());
    }

    /// Access keys that requests were signed with.
    pub fn signers(&self) -> Vec<String> {
        self.signed.lock().unwrap().keys().cloned().collect()
    }

    fn begin(&self, op: &'static str) -> S3Result<Option<Kind>> {
        *self.requests.lock().unwrap().entry(op).or_insert(0) += 1;
        match self.faults.next(op) {
            Some(Kind::SlowDown) => Err(s3_error!(SlowDown, "Please reduce your request rate.")),
            Some(Kind::Denied) => Err(s3_error!(AccessDenied, "Access Denied")),
            other => Ok(other),
        }
    }
}

/// The server's view of the memory.
#[derive(Clone)]
pub struct Handle(pub Arc<Memory>);

#[async_trait::async_trait]
impl S3Auth for Handle {
    async fn get_secret_key(&self, access_key: &str) -> S3Result<SecretKey> {
        *self.0.signed.lock().unwrap().entry(access_key.into()).or_insert(0) += 1;
        if access_key == super::ACCESS_KEY {
            return Ok(super::SECRET_KEY.into());
        }
        let sessions = self.0.sessions.lock().unwrap();
        let secret = sessions.get(access_key).ok_or_else(|| s3_error!(InvalidAccessKeyId))?;
        Ok(secret.clone().into())
    }
}

fn check_bucket(bucket: &str) -> S3Result<()> {
    match bucket == super::BUCKET {
        true => Ok(()),
        false => Err(s3_error!(NoSuchBucket, "The specified bucket does not exist")),
    }
}

async fn collect(body: Option<StreamingBlob>, length: Option<i64>) -> S3Result<Bytes> {
    let mut bytes = Vec::with_capacity(length.unwrap_or(0) as usize);
    let Some(mut body) = body else { return Ok(Bytes::new()) };
    while let Some(piece) = body.next().await {
        bytes.extend_from_slice(&piece.map_err(|_| s3_error!(IncompleteBody))?);
    }
    Ok(bytes.into())
}

/// A name for content: enough to tell objects apart.
fn tag(bytes: &[u8]) -> ETag {
    ETag::Strong(format!("{:08x}-{:x}", crc32fast::hash(bytes), bytes.len()))
}

fn body(bytes: Bytes, fault: Option<Kind>) -> StreamingBlob {
    let half = bytes.len() / 2;
    match fault {
        Some(Kind::Drop) => {
            let lost = stream::once(async {
                // What was sent before goes out first.
                tokio::time::sleep(Duration::from_millis(20)).await;
                Err(IoError::other("dropped on purpose"))
            });
            let pieces = stream::iter([Ok(bytes.slice(..half))]).chain(lost);
            StreamingBlob::wrap(SyncStream(Mutex::new(Box::pin(pieces))))
        }
        Some(Kind::SlowBody(pause_ms)) => {
            let piece = bytes.len().div_ceil(SLOW_PIECES).max(1);
            let starts: Vec<usize> = (0..bytes.len()).step_by(piece).collect();
            let (tx, rx) = tokio::sync::mpsc::channel::<Result<Bytes, IoError>>(1);
            tokio::spawn(async move {
                for start in starts {
                    tokio::time::sleep(Duration::from_millis(pause_ms)).await;
                    let end = (start + piece).min(bytes.len());
                    if tx.send(Ok(bytes.slice(start..end))).await.is_err() {
                        break;
                    }
                }
            });
            let pieces = stream::unfold(rx, async |mut rx| rx.recv().await.map(|x| (x, rx)));
            StreamingBlob::wrap(SyncStream(Mutex::new(Box::pin(pieces))))
        }
        _ => s3s::Body::from(bytes).into(),
    }
}

/// s3s wants streams that are `Sync`.
struct SyncStream(Mutex<stream::BoxStream<'static, Result<Bytes, IoError>>>);

impl futures::Stream for SyncStream {
    type Item = Result<Bytes, IoError>;

    fn poll_next(
        self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        self.0.lock().unwrap().poll_next_unpin(context)
    }
}

#[async_trait::async_trait]
impl S3 for Handle {
    async fn put_object(
        &self,
        request: S3Request<PutObjectInput>,
    ) -> S3Result<S3Response<PutObjectOutput>> {
        let input = request.input;
        check_bucket(&input.bucket)?;
        self.0.begin("put")?;
        let bytes = collect(input.body, input.content_length).await?;
        let mut objects = self.0.objects.lock().unwrap();
        if input.if_none_match.is_some() && objects.contains_key(&input.key) {
            return Err(s3_error!(PreconditionFailed, "The object is there"));
        }
        let e_tag = Some(tag(&bytes));
        objects.insert(input.key, bytes);
        Ok(S3Response::new(PutObjectOutput { e_tag, ..Default::default() }))
    }

    async fn get_object(
        &self,
        request: S3Request<GetObjectInput>,
    ) -> S3Result<S3Response<GetObjectOutput>> {
        let input = request.input;
        check_bucket(&input.bucket)?;
        let fault = self.0.begin("get")?;
        let mut whole = self.0.get(&input.key).ok_or_else(|| s3_error!(NoSuchKey))?;
        if fault == Some(Kind::Truncate) {
            whole.truncate(whole.len().saturating_sub(1));
        }
        let size = whole.len() as u64;
        let mut content_range = None;
        if let Some(range) = input.range {
            let range = range.check(size).map_err(|_| s3_error!(InvalidRange))?;
            content_range = Some(format!("bytes {}-{}/{size}", range.start, range.end - 1));
            whole = whole.slice(range.start as usize..range.end as usize);
        }
        Ok(S3Response::new(GetObjectOutput {
            content_length: Some(whole.len() as i64),
            content_range,
            e_tag: Some(ETag::Strong("x".into())),
            last_modified: Some(Timestamp::from(UNIX_EPOCH)),
            body: Some(body(whole, fault)),
            ..Default::default()
        }))
    }

    async fn head_object(
        &self,
        request: S3Request<HeadObjectInput>,
    ) -> S3Result<S3Response<HeadObjectOutput>> {
        let input = request.input;
        check_bucket(&input.bucket)?;
        self.0.begin("head")?;
        let object = self.0.get(&input.key).ok_or_else(|| s3_error!(NoSuchKey))?;
        Ok(S3Response::new(HeadObjectOutput {
            content_length: Some(object.len() as i64),
            e_tag: Some(tag(&object)),
            last_modified: Some(Timestamp::from(UNIX_EPOCH)),
            ..Default::default()
        }))
    }

    async fn delete_object(
        &self,
        request: S3Request<DeleteObjectInput>,
    ) -> S3Result<S3Response<DeleteObjectOutput>> {
        check_bucket(&request.input.bucket)?;
        self.0.begin("delete")?;
        self.0.objects.lock().unwrap().remove(&request.input.key);
        Ok(S3Response::new(DeleteObjectOutput::default()))
    }

    async fn delete_objects(
        &self,
        request: S3Request<DeleteObjectsInput>,
    ) -> S3Result<S3Response<DeleteObjectsOutput>> {
        let input = request.input;
        check_bucket(&input.bucket)?;
        self.0.begin("delete_many")?;
        let sums = ["content-md5", "x-amz-checksum-crc32", "x-amz-checksum-sha256"];
        if !sums.iter().any(|name| request.headers.contains_key(*name)) {
            return Err(s3_error!(InvalidRequest, "Missing required header: Content-MD5"));
        }
        if input.delete.objects.len() > PAGE_KEYS {
            return Err(s3_error!(MalformedXML, "too many keys"));
        }
        let mut errors = Vec::new();
        let mut objects = self.0.objects.lock().unwrap();
        for object in input.delete.objects {
            if object.key.contains("locked") {
                errors.push(s3s::dto::Error {
                    key: Some(object.key),
                    code: Some("AccessDenied".into()),
                    message: Some("Access Denied".into()),
                    ..Default::default()
                });
            } else {
                objects.remove(&object.key);
            }
        }
        let output = DeleteObjectsOutput { errors: Some(errors), ..Default::default() };
        Ok(S3Response::new(output))
    }

    async fn copy_object(
        &self,
        request: S3Request<CopyObjectInput>,
    ) -> S3Result<S3Response<CopyObjectOutput>> {
        check_bucket(&request.input.bucket)?;
        self.0.begin("copy")?;
        let CopySource::Bucket { bucket, key, .. } = &request.input.copy_source else {
            return Err(s3_error!(NotImplemented));
        };
        check_bucket(bucket)?;
        let object = self.0.get(key).ok_or_else(|| s3_error!(NoSuchKey))?;
        let e_tag = Some(tag(&object));
        self.0.objects.lock().unwrap().insert(request.input.key, object);
        let copy_object_result = Some(CopyObjectResult { e_tag, ..Default::default() });
        Ok(S3Response::new(CopyObjectOutput { copy_object_result, ..Default::default() }))
    }

    async fn list_objects_v2(
        &self,
        request: S3Request<ListObjectsV2Input>,
    ) -> S3Result<S3Response<ListObjectsV2Output>> {
        let input = request.input;
        check_bucket(&input.bucket)?;
        self.0.begin("list")?;
        let prefix = input.prefix.unwrap_or_default();
        let after = input.continuation_token.or(input.start_after).unwrap_or_default();
        let page = input.max_keys.map_or(PAGE_KEYS, |keys| keys as usize);
        let objects = self.0.objects.lock().unwrap();
        let mut output = ListObjectsV2Output::default();
        let (mut contents, mut folders, mut last) = (Vec::new(), Vec::<String>::new(), None);
        for (key, object) in objects.iter().filter(|(key, _)| key.starts_with(&prefix)) {
            let rest = &key[prefix.len()..];
            let folder = input.delimiter.as_ref().and_then(|delimiter| {
                let at = rest.find(delimiter.as_str())?;
                Some(key[..prefix.len() + at + delimiter.len()].to_string())
            });
            let name = folder.clone().unwrap_or_else(|| key.clone());
            if name.as_str() <= after.as_str() || folders.last() == Some(&name) {
                continue;
            }
            if contents.len() + folders.len() == page {
                output.is_truncated = Some(true);
                output.next_continuation_token = last;
                break;
            }
            last = Some(name.clone());
            match folder {
                Some(folder) => folders.push(folder),
                None => contents.push(Object {
                    key: Some(name),
                    size: Some(object.len() as i64),
                    last_modified: Some(Timestamp::from(UNIX_EPOCH)),
                    ..Default::default()
                }),
            }
        }
        output.key_count = Some((contents.len() + folders.len()) as i32);
        output.contents = Some(contents);
        let common = |prefix| CommonPrefix { prefix: Some(prefix) };
        output.common_prefixes = Some(folders.into_iter().map(common).collect());
        Ok(S3Response::new(output))
    }

    async fn create_multipart_upload(
        &self,
        request: S3Request<CreateMultipartUploadInput>,
    ) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
        let input = request.input;
        check_bucket(&input.bucket)?;
        self.0.begin("create")?;
        let id = format!("upload-{}", self.0.next_upload.fetch_add(1, Ordering::Relaxed));
        self.0.uploads.lock().unwrap().insert(id.clone(), (input.key.clone(), Parts::new()));
        Ok(S3Response::new(CreateMultipartUploadOutput {
            bucket: Some(input.bucket),
            key: Some(input.key),
            upload_id: Some(id),
            ..Default::default()
        }))
    }

    async fn upload_part(
        &self,
        request: S3Request<UploadPartInput>,
    ) -> S3Result<S3Response<UploadPartOutput>> {
        let input = request.input;
        check_bucket(&input.bucket)?;
        self.0.begin("part")?;
        let bytes = collect(input.body, input.content_length).await?;
        let e_tag = Some(tag(&bytes));
        let mut uploads = self.0.uploads.lock().unwrap();
        let upload = uploads.get_mut(&input.upload_id).ok_or_else(|| s3_error!(NoSuchUpload))?;
        upload.1.insert(input.part_number, bytes);
        Ok(S3Response::new(UploadPartOutput { e_tag, ..Default::default() }))
    }

    async fn complete_multipart_upload(
        &self,
        request: S3Request<CompleteMultipartUploadInput>,
    ) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
        let input = request.input;
        check_bucket(&input.bucket)?;
        if self.0.begin("complete")? == Some(Kind::LateError) {
            let late = S3Error::with_message(S3ErrorCode::InternalError, "completion failed");
            let future = Box::pin(async move { Err(late) });
            let output =
                CompleteMultipartUploadOutput { future: Some(future), ..Default::default() };
            return Ok(S3Response::new(output));
        }
        let listed = input.multipart_upload.and_then(|list| list.parts).unwrap_or_default();
        let mut uploads = self.0.uploads.lock().unwrap();
        let (key, parts) = uploads.get(&input.upload_id).ok_or_else(|| s3_error!(NoSuchUpload))?;
        let mut whole = Vec::new();
        for (place, part) in listed.iter().enumerate() {
            let number = part.part_number.unwrap_or(0);
            let bytes = parts.get(&number).ok_or_else(|| s3_error!(InvalidPart))?;
            let is_last = place + 1 == listed.len();
            if !is_last && bytes.len() < self.0.part_bytes_min {
                return Err(s3_error!(EntityTooSmall, "A part is smaller than the minimum"));
            }
            if part.e_tag.as_ref().map(ETag::value) != Some(tag(bytes).value()) {
                return Err(s3_error!(InvalidPart, "An ETag is not that of the part"));
            }
            whole.extend_from_slice(bytes);
        }
        let whole = Bytes::from(whole);
        let e_tag = Some(tag(&whole));
        self.0.objects.lock().unwrap().insert(key.clone(), whole);
        uploads.remove(&input.upload_id);
        Ok(S3Response::new(CompleteMultipartUploadOutput {
            bucket: Some(input.bucket),
            key: Some(input.key),
            // Some clients take an upload for failed without it.
            e_tag,
            ..Default::default()
        }))
    }

    async fn abort_multipart_upload(
        &self,
        request: S3Request<AbortMultipartUploadInput>,
    ) -> S3Result<S3Response<AbortMultipartUploadOutput>> {
        self.0.begin("abort")?;
        self.0.uploads.lock().unwrap().remove(&request.input.upload_id);
        Ok(S3Response::new(AbortMultipartUploadOutput::default()))
    }

    async fn list_multipart_uploads(
        &self,
        request: S3Request<ListMultipartUploadsInput>,
    ) -> S3Result<S3Response<ListMultipartUploadsOutput>> {
        let input = request.input;
        check_bucket(&input.bucket)?;
        self.0.begin("uploads")?;
        let prefix = input.prefix.unwrap_or_default();
        let after = (input.key_marker, input.upload_id_marker);
        let after = (after.0.unwrap_or_default(), after.1.unwrap_or_default());
        let uploads = self.0.uploads.lock().unwrap();
        let mut found: Vec<(String, String)> = uploads
            .iter()
            .map(|(id, (key, _))| (key.clone(), id.clone()))
            .filter(|pair| pair.0.starts_with(&prefix) && *pair > after)
            .collect();
        found.sort();
        let mut output = ListMultipartUploadsOutput::default();
        if found.len() > PAGE_UPLOADS {
            found.truncate(PAGE_UPLOADS);
            let last = found.last().cloned().unwrap_or_default();
            output.is_truncated = Some(true);
            (output.next_key_marker, output.next_upload_id_marker) = (Some(last.0), Some(last.1));
        }
        let upload = |(key, id)| MultipartUpload {
            key: Some(key),
            upload_id: Some(id),
            ..Default::default()
        };
        output.uploads = Some(found.into_iter().map(upload).collect());
        Ok(S3Response::new(output))
    }
}
