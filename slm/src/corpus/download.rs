//! Packages from a Debian mirror: kept in `~/.cache/auton/debs`, continued where a transfer broke off, and never used
//! unless their SHA-256 is the pinned one.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use indicatif::ProgressBar;
use sha2::{Digest, Sha256};

use super::sources::Package;

/// The mirror that is asked unless another is named.
pub const MIRROR: &str = "http://deb.debian.org/debian";

/// Transfers at a time.
const AT_ONCE: usize = 6;
/// How often a transfer is begun again, each time after a longer pause.
const ATTEMPTS: u32 = 4;

/// Where packages are kept: `$AUTON_DEBS`, `$XDG_CACHE_HOME/auton/debs` or `~/.cache/auton/debs`.
pub fn folder() -> Result<PathBuf> {
    let at = |variable: &str, below: &str| std::env::var_os(variable).map(|v| Path::new(&v).join(below));
    at("AUTON_DEBS", "")
        .or_else(|| at("XDG_CACHE_HOME", "auton/debs"))
        .or_else(|| at("HOME", ".cache/auton/debs"))
        .context(
            "neither AUTON_DEBS, XDG_CACHE_HOME nor HOME says where packages can be kept: set one of them",
        )
}

/// Brings all `packages` into `folder`, some at a time; returns their files in the same order.
pub fn all(packages: &[&Package], mirror: &str, folder: &Path, bar: &ProgressBar) -> Result<Vec<PathBuf>> {
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let next = AtomicUsize::new(0);
    let fault = Mutex::new(None);
    let agent = agent();
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE.min(packages.len()) {
            scope.spawn(|| {
                while let Some(package) = packages.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Err(error) = one(&agent, package, mirror, folder) {
                        // Nobody begins another transfer.
                        next.store(packages.len(), Ordering::Relaxed);
                        if let Ok(mut fault) = fault.lock() {
                            fault.get_or_insert(error);
                        }
                    }
                    bar.inc(package.bytes);
                }
            });
        }
    });
    match fault.into_inner() {
        Ok(Some(error)) => Err(error),
        _ => Ok(packages.iter().map(|p| folder.join(file_name(p))).collect()),
    }
}

fn agent() -> ureq::Agent {
    ureq::Agent::config_builder()
        .timeout_connect(Some(Duration::from_secs(15)))
        .timeout_recv_response(Some(Duration::from_secs(30)))
        .http_status_as_error(false)
        .build()
        .into()
}

fn file_name(package: &Package) -> &str {
    package.path.rsplit('/').next().unwrap_or(&package.path)
}

fn one(agent: &ureq::Agent, package: &Package, mirror: &str, folder: &Path) -> Result<()> {
    let file = folder.join(file_name(package));
    if file.is_file() {
        if checksum(&file)? == package.sha256 {
            return Ok(());
        }
        // Not what was once checked: damaged on disk.
        std::fs::remove_file(&file)
            .with_context(|| format!("cannot remove the damaged {}", file.display()))?;
    }
    let part = folder.join(format!("{}.part", file_name(package)));
    // Another program may be fetching the same package: it holds this lock until it has it.
    let lock = folder.join(format!("{}.lock", file_name(package)));
    let held = File::create(&lock).and_then(|f| f.lock().map(|()| f));
    let _held = held.with_context(|| format!("cannot lock {}", lock.display()))?;
    if file.is_file() {
        return Ok(());
    }
    let url = format!("{}/{}", mirror.trim_end_matches('/'), package.path);
    let mut attempt = 1;
    loop {
        match transfer(agent, package, &url, &part) {
            Ok(()) => break,
            Err(Fault::Final(error)) => {
                let _ = std::fs::remove_file(&part);
                return Err(error);
            }
            Err(Fault::Passing(error)) if attempt == ATTEMPTS => {
                return Err(error.context(format!(
                    "cannot fetch the package {} from {url} (tried {ATTEMPTS} times)",
                    package.name
                )));
            }
            Err(Fault::Passing(_)) => std::thread::sleep(Duration::from_millis(500 << attempt)),
        }
        attempt += 1;
    }
    let found = checksum(&part)?;
    if found != package.sha256 {
        let _ = std::fs::remove_file(&part);
        bail!(
            "{url} is not the package {} that is pinned: its SHA-256 is {found}, not {}",
            package.name,
            package.sha256
        );
    }
    std::fs::rename(&part, &file).with_context(|| format!("cannot write {}", file.display()))?;
    let _ = std::fs::remove_file(&lock);
    Ok(())
}

enum Fault {
    /// Another attempt may succeed.
    Passing(anyhow::Error),
    /// It will not.
    Final(anyhow::Error),
}

/// Appends to `part` what is still missing of the package.
fn transfer(agent: &ureq::Agent, package: &Package, url: &str, part: &Path) -> Result<(), Fault> {
    let local =
        |e: std::io::Error| Fault::Final(anyhow!(e).context(format!("cannot write {}", part.display())));
    let mut file = OpenOptions::new().create(true).append(true).open(part).map_err(local)?;
    let have = file.metadata().map_err(local)?.len();
    if have == package.bytes {
        return Ok(());
    }
    let mut request = agent.get(url);
    if have > 0 {
        request = request.header("Range", format!("bytes={have}-"));
    }
    let mut response = request.call().map_err(|e| Fault::Passing(e.into()))?;
    match response.status().as_u16() {
        206 => {}
        // The mirror sends the whole file.
        200 => file.set_len(0).map_err(local)?,
        404 | 410 => {
            return Err(Fault::Final(anyhow!(
                "the mirror no longer has {} {}: {url} is gone; name one that has it by --mirror (snapshot.debian.org keeps every version: http://snapshot.debian.org/archive/debian/20260901T000000Z)",
                package.name,
                package.version
            )));
        }
        status => return Err(Fault::Passing(anyhow!("the mirror answered with status {status}"))),
    }
    let mut body = response.body_mut().as_reader().take(package.bytes + 1);
    let mut buffer = vec![0; 64 << 10];
    loop {
        let n = body.read(&mut buffer).map_err(|e| Fault::Passing(e.into()))?;
        let Some(read) = buffer.get(..n).filter(|read| !read.is_empty()) else { break };
        file.write_all(read).map_err(local)?;
    }
    let size = file.metadata().map_err(local)?.len();
    if size > package.bytes {
        return Err(Fault::Final(anyhow!(
            "{url} is larger than the package {} that is pinned",
            package.name
        )));
    }
    if size < package.bytes {
        return Err(Fault::Passing(anyhow!("the transfer ended after {size} of {} bytes", package.bytes)));
    }
    Ok(())
}

/// SHA-256 of a file, hexadecimal.
pub fn checksum(file: &Path) -> Result<String> {
    let mut hasher = Sha256::new();
    let named = || format!("cannot read {}", file.display());
    let mut reader = File::open(file).with_context(named)?;
    let mut buffer = vec![0; 256 << 10];
    loop {
        let n = reader.read(&mut buffer).with_context(named)?;
        ensure!(n <= buffer.len(), "{} changes while it is read", file.display());
        match buffer.get(..n) {
            Some(read) if !read.is_empty() => hasher.update(read),
            _ => break,
        }
    }
    Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader};
    use std::net::TcpListener;

    /// A mirror that answers each connection by `answer` (its number, the first byte that is asked for).
    fn mirror(answer: impl Fn(usize, usize) -> Vec<u8> + Send + 'static) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            for (number, stream) in listener.incoming().enumerate() {
                let mut stream = stream.unwrap();
                let mut from = 0;
                for line in BufReader::new(&stream).lines() {
                    let line = line.unwrap().to_lowercase();
                    if let Some(range) = line.strip_prefix("range: bytes=") {
                        from = range.trim_end_matches('-').parse().unwrap();
                    }
                    if line.is_empty() {
                        break;
                    }
                }
                stream.write_all(&answer(number, from)).unwrap();
            }
        });
        address
    }

    fn response(status: &str, length: usize, body: &[u8]) -> Vec<u8> {
        let head = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
        [head.as_bytes(), body].concat()
    }

    fn content() -> Vec<u8> {
        (0..200_000u32).map(|n| (n * 7 + n / 256) as u8).collect()
    }

    fn pinned() -> Package {
        let digest = Sha256::digest(content());
        Package {
            name: "ls-doc".into(),
            version: "1.2-3".into(),
            path: "pool/main/l/ls/ls-doc_1.2-3_all.deb".into(),
            sha256: digest.iter().map(|b| format!("{b:02x}")).collect(),
            bytes: content().len() as u64,
            licence: "MIT".into(),
            group: super::super::sources::Group::Man,
            sample: true,
        }
    }

    fn fetch(mirror: &str, folder: &Path) -> Result<Vec<PathBuf>> {
        all(&[&pinned()], mirror, folder, &ProgressBar::hidden())
    }

    #[test]
    fn a_broken_transfer_goes_on_where_it_ended_and_a_kept_package_is_not_fetched_again() {
        let folder = tempfile::tempdir().unwrap();
        let address = mirror(|number, from| match number {
            0 => response("200 OK", content().len(), &content()[..70_000]),
            _ => {
                assert!(from >= 1, "the second request is for the rest only");
                response("206 Partial Content", content().len() - from, &content()[from..])
            }
        });
        let files = fetch(&address, folder.path()).unwrap();
        assert_eq!(std::fs::read(&files[0]).unwrap(), content());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing else is left");
        // No mirror is at this address.
        assert_eq!(fetch("http://127.0.0.1:9", folder.path()).unwrap(), files);
    }

    #[test]
    fn what_is_gone_or_not_the_pinned_package_is_said_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let gone =
            fetch(&mirror(|_, _| response("404 Not Found", 0, b"")), folder.path()).unwrap_err().to_string();
        assert!(gone.contains("ls-doc 1.2-3") && gone.contains("snapshot.debian.org"), "{gone}");
        let mut other = content();
        other[5] ^= 1;
        let wrong = mirror(move |_, _| response("200 OK", other.len(), &other));
        let wrong = fetch(&wrong, folder.path()).unwrap_err().to_string();
        assert!(wrong.contains("ls-doc") && wrong.contains("SHA-256"), "{wrong}");
        let large = mirror(|_, _| response("200 OK", content().len() + 9, &[content(), vec![0; 9]].concat()));
        assert!(
            fetch(&large, folder.path()).unwrap_err().to_string().contains("larger than the package ls-doc")
        );
        assert!(!folder.path().join("ls-doc_1.2-3_all.deb").exists());
    }
}
