//! The files in a Debian package, without unpacking it to disk: an `ar` archive whose member `data.tar.xz` holds them.
//!
//! Nothing is written anywhere, so a hostile name can reach nothing; what is read is bounded.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use flate2::read::{GzDecoder, MultiGzDecoder};
use liblzma::read::XzDecoder;

/// Most bytes that all of a package may unpack to.
const LARGEST_PACKAGE: u64 = 1 << 30;
/// Most bytes of a file that is taken, packed or not.
const LARGEST_FILE: u64 = 16 << 20;

/// A regular file of a package.
pub struct Entry {
    /// Its path without the leading `./`.
    pub path: String,
    /// Its content; unpacked, if its name ended in `.gz` (the path does no longer).
    pub bytes: Vec<u8>,
}

/// Gives `take` every regular file whose path `wanted` accepts. A wanted file that is too large is an error.
pub fn files(deb: &Path, wanted: impl Fn(&str) -> bool, mut take: impl FnMut(Entry)) -> Result<()> {
    let reader = BufReader::new(File::open(deb).with_context(|| format!("cannot read {}", deb.display()))?);
    read(reader, &wanted, &mut take).with_context(|| format!("{} is not a sound package", deb.display()))
}

fn read(reader: impl Read, wanted: &dyn Fn(&str) -> bool, take: &mut dyn FnMut(Entry)) -> Result<()> {
    let mut archive = ar::Archive::new(reader);
    while let Some(member) = archive.next_entry() {
        let member = member?;
        let name = String::from_utf8_lossy(member.header().identifier()).into_owned();
        match name.strip_prefix("data.tar") {
            None => {}
            Some(".xz") => return unpacked(XzDecoder::new(member), wanted, take),
            Some(".gz") => return unpacked(GzDecoder::new(member), wanted, take),
            Some("") => return unpacked(member, wanted, take),
            Some(other) => bail!("its files are packed as {other}, which is not read here"),
        }
    }
    bail!("it has no member data.tar")
}

fn unpacked(reader: impl Read, wanted: &dyn Fn(&str) -> bool, take: &mut dyn FnMut(Entry)) -> Result<()> {
    let mut tar = tar::Archive::new(reader.take(LARGEST_PACKAGE));
    for entry in tar.entries()? {
        let mut entry = entry?;
        let path = String::from_utf8_lossy(&entry.path_bytes()).trim_start_matches("./").to_string();
        if !entry.header().entry_type().is_file() || !wanted(&path) {
            continue;
        }
        let mut bytes = bounded(&mut entry, &path)?;
        let path = match path.strip_suffix(".gz") {
            Some(plain) => {
                bytes = bounded(MultiGzDecoder::new(bytes.as_slice()), plain)?;
                plain.to_string()
            }
            None => path,
        };
        take(Entry { path, bytes });
    }
    Ok(())
}

fn bounded(reader: impl Read, path: &str) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    reader.take(LARGEST_FILE + 1).read_to_end(&mut bytes).with_context(|| format!("cannot unpack {path}"))?;
    ensure!(bytes.len() as u64 <= LARGEST_FILE, "{path} is larger than {} MiB", LARGEST_FILE >> 20);
    Ok(bytes)
}
