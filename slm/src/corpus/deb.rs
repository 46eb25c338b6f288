//! The files in a Debian package, without unpacking it to disk: an `ar` archive whose member `data.tar.xz` holds them.
//!
//! Nothing is written anywhere, so a hostile name can reach nothing; what is read is bounded.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use flate2::read::{GzDecoder, MultiGzDecoder};
use liblzma::read::XzDecoder;
use liblzma::stream::Stream;

/// Most bytes that all of a package may unpack to; the kernel's documentation is 230 MiB.
const LARGEST_PACKAGE: u64 = 512 << 20;
/// Most memory for unpacking xz; what `xz -9` makes needs 65 MiB.
const XZ_MEMORY: u64 = 256 << 20;
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
            Some(".xz") => return unpacked(xz(member)?, wanted, take),
            Some(".gz") => return unpacked(GzDecoder::new(member), wanted, take),
            Some("") => return unpacked(member, wanted, take),
            Some(other) => bail!("its files are packed as {other}, which is not read here"),
        }
    }
    bail!("it has no member data.tar")
}

fn xz<R: Read>(reader: R) -> Result<XzDecoder<R>> {
    let stream = Stream::new_stream_decoder(XZ_MEMORY, 0).context("xz cannot be unpacked")?;
    Ok(XzDecoder::new_stream(reader, stream))
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    /// A package whose files are packed by `pack` under `member`.
    fn package(member: &str, tar: &[u8]) -> Vec<u8> {
        let mut archive = ar::Builder::new(Vec::new());
        for (name, bytes) in [("debian-binary", &b"2.0\n"[..]), ("control.tar.xz", b""), (member, tar)] {
            archive.append(&ar::Header::new(name.into(), bytes.len() as u64), bytes).unwrap();
        }
        archive.into_inner().unwrap()
    }

    fn packed(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        for (path, bytes) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            // Not `set_path`, which refuses what a hostile archive has.
            header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
            header.set_cksum();
            tar.append(&header, *bytes).unwrap();
        }
        let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 1);
        xz.write_all(&tar.into_inner().unwrap()).unwrap();
        xz.finish().unwrap()
    }

    fn taken(deb: &[u8], wanted: &str) -> Result<Vec<(String, Vec<u8>)>> {
        let mut files = Vec::new();
        read(deb, &|path| path.contains(wanted), &mut |e| files.push((e.path, e.bytes)))?;
        Ok(files)
    }

    #[test]
    fn wanted_files_are_unpacked_and_hostile_names_reach_nothing() {
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gz.write_all(b"page").unwrap();
        let gz = gz.finish().unwrap();
        let deb = package(
            "data.tar.xz",
            &packed(&[
                ("./usr/share/man/man1/ls.1.gz", &gz),
                ("../../../tmp/escaped", b"x"),
                ("./other", b"y"),
            ]),
        );
        assert_eq!(taken(&deb, "man1").unwrap(), [("usr/share/man/man1/ls.1".to_string(), b"page".to_vec())]);
        assert_eq!(taken(&deb, "escaped").unwrap().len(), 1);
        assert!(!Path::new("/tmp/escaped").exists());
    }

    #[test]
    fn bombs_and_broken_packages_are_refused() {
        let zeros = vec![0; (LARGEST_FILE + 1) as usize];
        let deb = package("data.tar.xz", &packed(&[("./bomb", &zeros), ("./small", b"s")]));
        assert!(taken(&deb, "bomb").unwrap_err().to_string().contains("larger than 16 MiB"));
        assert_eq!(taken(&deb, "small").unwrap().len(), 1);
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        gz.write_all(&zeros).unwrap();
        let deb = package("data.tar.xz", &packed(&[("./bomb.gz", &gz.finish().unwrap())]));
        assert!(taken(&deb, "bomb").unwrap_err().to_string().contains("larger than 16 MiB"));

        for at in [0, 9, 100, 200, deb.len() / 2] {
            assert!(taken(&deb[..at], "bomb").is_err(), "cut at {at}");
        }
        assert!(taken(&package("data.tar.zst", b""), "x").unwrap_err().to_string().contains(".zst"));
        assert!(taken(&package("other", b""), "x").unwrap_err().to_string().contains("no member data.tar"));
    }
}
