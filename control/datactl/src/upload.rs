//! A model on its way to the kernel.

use crate::error::Error;
use crate::output::Output;
use crate::run::{Task, acknowledged, nanos};
use control::Message;
use control::message::{MAX_NAME, MAX_UPLOAD_CHUNK};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use sha2::{Digest, Sha256};
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

/// Chunks sent ahead of their acknowledgements.
const WINDOW: usize = 4;

pub fn upload(
    task: &Task,
    out: &mut Output,
    file: &Path,
    name: Option<&str>,
    load: bool,
) -> Result<(), Error> {
    let local = |source| Error::Local { what: file.display().to_string(), source };
    let own_name = file.file_name().map(|name| name.to_string_lossy().into_owned());
    let name = name.map(str::to_owned).or(own_name).unwrap_or_default();
    if name.is_empty() || name.len() > MAX_NAME {
        return Err(Error::Usage(format!("a model's name has 1 to {MAX_NAME} bytes; give one with --name")));
    }
    let (size, sha256) = digest(file, out).map_err(local)?;
    let bar = bar(out, size, "sending");
    let begin = Message::UploadBegin { size, sha256, name: name.clone() };
    let (mut connection, id) = task.retry(|| {
        let mut connection = task.connect()?;
        let (_, there) = connection.ask(&begin, task.token)?;
        bar.set_position(there);
        let mut source = BufReader::new(File::open(file).map_err(local)?);
        source.seek(SeekFrom::Start(there)).map_err(local)?;
        let (mut offset, mut sent) = (there, VecDeque::new());
        loop {
            task.time_left()?;
            let mut bytes = Vec::with_capacity(MAX_UPLOAD_CHUNK);
            source.by_ref().take(MAX_UPLOAD_CHUNK as u64).read_to_end(&mut bytes).map_err(local)?;
            let at_end = bytes.is_empty();
            if !at_end {
                let length = bytes.len() as u64;
                sent.push_back(connection.send(&Message::UploadChunk { offset, bytes }, task.token)?);
                offset += length;
            }
            while sent.len() >= WINDOW || at_end && !sent.is_empty() {
                let Some(id) = sent.pop_front() else { break };
                bar.set_position(connection.ack(id)?);
            }
            if at_end {
                let (id, _) = connection.ask(&Message::UploadEnd, task.token)?;
                return Ok((connection, id));
            }
        }
    })?;
    bar.finish_and_clear();
    if task.options.wait_ack && !load {
        return acknowledged(out, json!({ "bytes": size }));
    }
    let (mut took, mut text) = task.wait_done(&mut connection, id)?;
    if load {
        let (id, _) = connection.ask(&Message::Load { name, wcet_cycles: 0 }, task.token)?;
        if task.options.wait_ack {
            return acknowledged(out, json!({ "bytes": size }));
        }
        let (more, loaded) = task.wait_done(&mut connection, id)?;
        took += more;
        text = format!("{text}; {loaded}");
    }
    let fields = json!({ "bytes": size, "text": text, "elapsed_ns": nanos(took) });
    out.result(true, fields, &format!("{text}\n"))
}

/// The file's size and SHA-256.
fn digest(file: &Path, out: &Output) -> io::Result<(u64, [u8; 32])> {
    let mut source = File::open(file)?;
    let bar = bar(out, source.metadata()?.len(), "checking");
    let (mut hash, mut buffer, mut size) = (Sha256::new(), vec![0; 1 << 16], 0);
    loop {
        match source.read(&mut buffer)? {
            0 => break,
            n => {
                hash.update(buffer.get(..n).unwrap_or_default());
                size += n as u64;
                bar.set_position(size);
            }
        }
    }
    bar.finish_and_clear();
    Ok((size, hash.finalize().into()))
}

/// Drawn on standard error, and only where that is a terminal.
fn bar(out: &Output, size: u64, what: &'static str) -> ProgressBar {
    if out.is_json() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{msg} {bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta}");
    let bar = ProgressBar::new(size);
    if let Ok(style) = style {
        bar.set_style(style);
    }
    bar.with_message(what)
}
