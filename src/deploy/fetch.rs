//! An artifact from a URL: streamed into a file, taken up where it broke off, and named only once its SHA-256 is the
//! configured one.
//!
//! The checksum is what proves the file, not the way it came: redirects are followed, and plain http is as good as TLS. The URL may
//! carry a signature that is as good as a password, so only its host and path are ever told. What was fetched stays in the
//! folder under its checksum, so that a restart of the keeper, or the way back, needs no network.
//!
//! Deliberately absent: unpacking. The artifact is one executable file.

use std::{
    fs::Permissions,
    io::{Seek, SeekFrom, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use reqwest::{StatusCode, header};
use url::Url;

use super::{artifact::fingerprint, fault::DeployFault};
use crate::{
    crash::{self, Point},
    file_lock::FileLock,
    retry::{Backoff, Failure, RetryPolicy, retry},
};

/// The largest file that is taken: a server with everything it needs is a few hundred MiB, and the disk is not ours alone.
const BYTES_MAX: u64 = 4 << 30;
/// Longest silence of the other side before the download is taken up anew.
const SILENCE: Duration = Duration::from_secs(30);
/// The longest a download is pursued.
const PATIENCE: Duration = Duration::from_secs(900);
/// Redirects that are followed: a release page leads to a store, that to a mirror.
const REDIRECTS: usize = 5;
/// Files kept in the folder, the wanted one included.
const KEPT: usize = 3;

/// What is to be fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Download {
    /// From where.
    pub url: Url,
    /// SHA-256 in lower-case hex.
    pub sha256: String,
    /// Where it is kept.
    pub folder: PathBuf,
}

impl Download {
    /// The URL without what may be secret in it.
    fn place(&self) -> String {
        format!("{}{}", self.url.host_str().unwrap_or_default(), self.url.path())
    }
}

/// The file, fetched unless it is there.
///
/// # Errors
/// [`DeployFault::Release`] when there is no such file, it is too large, or it has another checksum; [`DeployFault::Refused`]
/// when it cannot be had now.
pub(super) async fn fetch(download: &Download) -> Result<PathBuf, DeployFault> {
    let target = download.folder.join(&download.sha256);
    if matches!(fingerprint(&target).await, Ok((digest, ..)) if digest == download.sha256) {
        return Ok(target);
    }
    let client = client().map_err(|error| DeployFault::Release(format!("no HTTP client: {error}")))?;
    std::fs::create_dir_all(&download.folder).map_err(|error| here(&download.folder, &error))?;
    let policy = RetryPolicy {
        initial: Duration::from_millis(500),
        max_delay: Duration::from_secs(30),
        give_up_after: Some(PATIENCE),
        ..RetryPolicy::default()
    };
    let (client, to) = (&client, &target);
    let work = retry(Backoff::new(policy, fastrand::u64(..)), || async move {
        let tried = attempt(client, download, to).await;
        if let Err(Failure::Passing(fault, _)) = &tried {
            tracing::warn!(%fault, "the artifact is tried to be fetched again");
        }
        tried
    });
    match tokio::time::timeout(PATIENCE, work).await {
        Ok(done) => done?,
        Err(_) => return Err(not_now(download, &format!("not done within {} s", PATIENCE.as_secs()))),
    }
    forget_the_oldest(&download.folder, &target);
    Ok(target)
}

async fn attempt(
    client: &reqwest::Client,
    download: &Download,
    target: &Path,
) -> Result<(), Failure<DeployFault>> {
    let passing = |why: &str| Failure::Passing(not_now(download, why), None);
    let mut part = Part::open(target)
        .map_err(|error| Failure::Final(here(target, &error)))?
        .ok_or_else(|| passing("another process fetches it now"))?;
    if fingerprint(target).await.is_ok_and(|(digest, ..)| digest == download.sha256) {
        // Whoever held the lock has fetched it meanwhile.
        return part.discard().map_err(|error| Failure::Final(here(target, &error)));
    }
    let resumed = part.size > 0;
    let mut request = client.get(download.url.clone());
    if resumed {
        request = request.header(header::RANGE, format!("bytes={}-", part.size));
    }
    let mut response = request.send().await.map_err(|error| passing(&error.without_url().to_string()))?;
    let status = response.status();
    let continues = status == StatusCode::PARTIAL_CONTENT && begins_at(&response) == Some(part.size);
    if status.is_client_error() && !matches!(status.as_u16(), 408 | 416 | 429) {
        let words = format!("`{}` cannot be fetched: it answers {status}", download.place());
        return Err(Failure::Final(DeployFault::Release(words)));
    }
    let local = |error: std::io::Error| Failure::Final(here(target, &error));
    if !continues {
        part.restart().map_err(local)?;
    }
    if !continues && status != StatusCode::OK {
        return Err(passing(&format!("it answers {status}")));
    }
    let expected = response.content_length().map(|rest| part.size.saturating_add(rest));
    let too_large = || {
        let limit = BYTES_MAX >> 20;
        let words = format!("`{}` is larger than the {limit} MiB that are taken", download.place());
        Failure::Final(DeployFault::Release(words))
    };
    if expected.is_some_and(|bytes| bytes > BYTES_MAX) {
        return Err(too_large());
    }
    loop {
        let chunk = response.chunk().await.map_err(|error| passing(&error.without_url().to_string()))?;
        let Some(chunk) = chunk else { break };
        part.append(&chunk).map_err(local)?;
        crash::at(Point::Fetching);
        if part.size > BYTES_MAX {
            part.discard().map_err(local)?;
            return Err(too_large());
        }
    }
    if expected.is_some_and(|bytes| part.size < bytes) {
        return Err(passing("it broke off"));
    }
    let (digest, ..) = fingerprint(&part.path).await.map_err(local)?;
    crash::at(Point::Fetched);
    if digest == download.sha256 {
        return part.settle(target).map_err(local);
    }
    let words = format!(
        "`{}` has the SHA-256 {digest}, and {} is wanted; nothing was changed",
        download.place(),
        download.sha256
    );
    part.discard().map_err(local)?;
    // Two halves of two files: the other side changed it meanwhile. From the beginning once more.
    let fault = DeployFault::Release(words);
    Err(if resumed && continues { Failure::Passing(fault, None) } else { Failure::Final(fault) })
}

/// Where the answer's bytes begin in the file, as `Content-Range: bytes 500-999/1000` tells.
fn begins_at(response: &reqwest::Response) -> Option<u64> {
    let value = response.headers().get(header::CONTENT_RANGE)?.to_str().ok()?;
    value.strip_prefix("bytes ")?.split('-').next()?.trim().parse().ok()
}

/// The beginning of the file, kept from one try, and one life of the keeper, to the next.
struct Part {
    file: FileLock,
    path: PathBuf,
    size: u64,
}

impl Part {
    /// `None` where another process fetches it.
    fn open(target: &Path) -> std::io::Result<Option<Self>> {
        let path = target.with_extension("part");
        let mut options = std::fs::OpenOptions::new();
        let Ok(file) = FileLock::try_new(options.create(true).append(true).open(&path)?)? else {
            return Ok(None);
        };
        let size = (&*file).seek(SeekFrom::End(0))?;
        Ok(Some(Self { file, path, size }))
    }

    fn restart(&mut self) -> std::io::Result<()> {
        self.size = 0;
        self.file.set_len(0)
    }

    fn append(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        (&*self.file).write_all(bytes)?;
        self.size += bytes.len() as u64;
        Ok(())
    }

    fn settle(self, target: &Path) -> std::io::Result<()> {
        self.file.set_permissions(Permissions::from_mode(0o755))?;
        self.file.sync_all()?;
        std::fs::rename(&self.path, target)
    }

    fn discard(self) -> std::io::Result<()> {
        std::fs::remove_file(&self.path)
    }
}

/// What no release needs any more. Faults here cost disk, and nothing else.
fn forget_the_oldest(folder: &Path, wanted: &Path) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    let mut files: Vec<_> = entries
        .filter_map(|entry| {
            Some((entry.as_ref().ok()?.metadata().ok()?.modified().ok()?, entry.ok()?.path()))
        })
        .filter(|(_, path)| path != wanted)
        .collect();
    files.sort();
    let surplus = files.len().saturating_sub(KEPT - 1);
    for (_, path) in files.into_iter().take(surplus) {
        if let Err(error) = std::fs::remove_file(&path) {
            tracing::debug!(path = %path.display(), %error, "an old artifact stays");
        }
    }
}

fn not_now(download: &Download, why: &str) -> DeployFault {
    DeployFault::Refused(format!("`{}` cannot be fetched: {why}", download.place()))
}

fn here(path: &Path, error: &std::io::Error) -> DeployFault {
    DeployFault::Release(format!("cannot store the artifact at `{}`: {error}", path.display()))
}

/// Where the machine has no certificate store, Mozilla's roots that come with the program are used.
fn client() -> reqwest::Result<reqwest::Client> {
    let builder = || {
        reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::limited(REDIRECTS))
            .connect_timeout(SILENCE)
            .read_timeout(SILENCE)
            .referer(false)
            .user_agent(concat!("vast-keeper/", env!("CARGO_PKG_VERSION")))
    };
    builder().build().or_else(|_| {
        let roots = webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter();
        let roots = roots.filter_map(|root| reqwest::Certificate::from_der(root).ok());
        builder().tls_certs_only(roots).build()
    })
}

#[cfg(test)]
mod tests {
    use std::{
        io::Read,
        net::{TcpListener, TcpStream},
        sync::{Arc, Mutex},
    };

    use sha2::{Digest, Sha256};

    use super::*;

    type Answer = Box<dyn Fn(&str, &mut TcpStream) + Send + Sync>;

    /// A store that answers each request in turn, the last answer for ever, and notes what it was asked.
    struct Store {
        url: Url,
        asked: Arc<Mutex<Vec<String>>>,
        folder: tempfile::TempDir,
    }

    impl Store {
        fn new(answers: Vec<Answer>) -> Self {
            let _ = rustls::crypto::ring::default_provider().install_default();
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let url = format!("http://{}/server?signature=canary-77", listener.local_addr().unwrap());
            let asked = Arc::new(Mutex::new(Vec::new()));
            let noted = Arc::clone(&asked);
            std::thread::spawn(move || {
                for (turn, stream) in listener.incoming().flatten().enumerate() {
                    let mut stream = stream;
                    let mut buffer = [0; 4096];
                    let count = stream.read(&mut buffer).unwrap_or(0);
                    let request = String::from_utf8_lossy(&buffer[..count]).to_lowercase();
                    // Before the answer: whoever has that may look at once.
                    noted.lock().unwrap().push(request.clone());
                    answers[turn.min(answers.len() - 1)](&request, &mut stream);
                }
            });
            Self { url: url.parse().unwrap(), asked, folder: tempfile::tempdir().unwrap() }
        }

        async fn fetch(&self, sha256: &str) -> Result<PathBuf, DeployFault> {
            let folder = self.folder.path().join("artifacts");
            fetch(&Download { url: self.url.clone(), sha256: sha256.into(), folder }).await
        }

        fn asked(&self) -> Vec<String> {
            self.asked.lock().unwrap().clone()
        }
    }

    fn body() -> Vec<u8> {
        (0..200_000_u32).flat_map(u32::to_le_bytes).collect()
    }

    fn digest(bytes: &[u8]) -> String {
        Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The whole file, of which at most `most` bytes are really sent.
    fn whole(most: usize) -> Answer {
        Box::new(move |_, stream| {
            let body = body();
            let _ = write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
            let _ = stream.write_all(&body[..most.min(body.len())]);
        })
    }

    /// The rest of the file, from where the request says.
    fn rest() -> Answer {
        Box::new(|request, stream| {
            let body = body();
            let from = request.split("range: bytes=").nth(1).and_then(|text| text.split('-').next());
            let from: usize = from.map_or(0, |text| text.parse().unwrap());
            let (end, all) = (body.len() - 1, body.len());
            let _ = write!(
                stream,
                "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes {from}-{end}/{all}\r\nContent-Length: {}\r\n\r\n",
                all - from
            );
            let _ = stream.write_all(&body[from..]);
        })
    }

    fn status(line: &'static str) -> Answer {
        Box::new(move |_, stream| {
            let _ = write!(stream, "HTTP/1.1 {line}\r\nContent-Length: 0\r\n\r\n");
        })
    }

    #[tokio::test]
    async fn a_download_that_broke_off_is_taken_up_where_it_was_and_kept() {
        let store = Store::new(vec![status("503 Busy"), whole(300_000), rest()]);
        let path = store.fetch(&digest(&body())).await.unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), body());
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o755);
        let asked = store.asked();
        assert_eq!(asked.len(), 3);
        assert!(asked[2].contains("range: bytes=300000-"), "{}", asked[2]);
        // The next life of the keeper asks nobody.
        assert_eq!(store.fetch(&digest(&body())).await.unwrap(), path);
        assert_eq!(store.asked().len(), 3);
    }

    #[tokio::test]
    async fn a_store_that_knows_no_ranges_is_asked_for_everything_again() {
        let store = Store::new(vec![whole(1000), whole(usize::MAX)]);
        let path = store.fetch(&digest(&body())).await.unwrap();
        assert_eq!(std::fs::read(path).unwrap(), body());
    }

    #[tokio::test]
    async fn a_file_with_another_checksum_is_refused_and_not_kept() {
        let store = Store::new(vec![whole(usize::MAX)]);
        let wanted = digest(b"something else");
        let fault = store.fetch(&wanted).await.unwrap_err();
        let DeployFault::Release(words) = &fault else { panic!("{fault:?}") };
        assert!(words.contains(&wanted) && words.contains(&digest(&body())), "{words}");
        assert!(!words.contains("canary-77"), "the signature is told: {words}");
        let left = std::fs::read_dir(store.folder.path().join("artifacts")).unwrap().count();
        assert_eq!((left, store.asked().len()), (0, 1));
    }

    #[tokio::test]
    async fn a_file_that_changed_between_two_halves_is_fetched_anew_once() {
        let store = Store::new(vec![rest(), whole(usize::MAX)]);
        let folder = store.folder.path().join("artifacts");
        std::fs::create_dir(&folder).unwrap();
        // Of another file, from a life before.
        let part = folder.join(digest(&body())).with_extension("part");
        std::fs::write(part, vec![7; 1000]).unwrap();
        let path = store.fetch(&digest(&body())).await.unwrap();
        assert_eq!(std::fs::read(path).unwrap(), body());
    }

    #[tokio::test]
    async fn what_is_not_there_is_not_asked_for_again_and_what_is_too_large_is_not_taken() {
        let store = Store::new(vec![status("404 Not Found")]);
        let fault = store.fetch(&digest(b"x")).await.unwrap_err();
        assert!(matches!(&fault, DeployFault::Release(words) if words.contains("404")), "{fault:?}");
        assert_eq!(store.asked().len(), 1);
        let huge = Box::new(|_: &str, stream: &mut TcpStream| {
            let _ = write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999\r\n\r\n");
        });
        let store = Store::new(vec![huge]);
        let fault = store.fetch(&digest(b"x")).await.unwrap_err();
        assert!(matches!(&fault, DeployFault::Release(words) if words.contains("larger")), "{fault:?}");
    }
}
