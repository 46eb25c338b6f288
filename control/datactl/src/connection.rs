//! One port of a kernel, as its host sees it.

use crate::error::Error;
use control::{Client, Message, Reply, Token};
use std::collections::VecDeque;
use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How long the kernel may take to acknowledge a request.
pub const ACK_TIMEOUT: Duration = Duration::from_secs(2);
/// Replies kept that nobody has asked for yet; the oldest go first.
const INBOX: usize = 4096;

/// Where a port is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A Unix socket.
    Socket(PathBuf),
    /// `host:port`.
    Tcp(String),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Socket(path) => path.display().fmt(f),
            Address::Tcp(place) => place.fmt(f),
        }
    }
}

/// A socket with time limits.
trait Line: Read + Write + fmt::Debug {
    fn limit(&self, time: Duration) -> io::Result<()>;
}

impl Line for UnixStream {
    fn limit(&self, time: Duration) -> io::Result<()> {
        self.set_read_timeout(Some(time)).and_then(|()| self.set_write_timeout(Some(time)))
    }
}

impl Line for TcpStream {
    fn limit(&self, time: Duration) -> io::Result<()> {
        self.set_read_timeout(Some(time)).and_then(|()| self.set_write_timeout(Some(time)))
    }
}

/// A connection to one port. Dropping it ends what it asked for.
#[derive(Debug)]
pub struct Connection {
    line: Box<dyn Line>,
    client: Client,
    ack_timeout: Duration,
    inbox: VecDeque<(u32, Reply)>,
}

impl Connection {
    /// Connects; acknowledgements are awaited for [`ACK_TIMEOUT`] unless [`Self::with_ack_timeout`] is called.
    pub fn open(address: &Address) -> Result<Self, Error> {
        let line: io::Result<Box<dyn Line>> = match address {
            Address::Socket(path) => UnixStream::connect(path).map(|line| Box::new(line) as _),
            Address::Tcp(place) => TcpStream::connect(place).and_then(|line| {
                line.set_nodelay(true)?;
                Ok(Box::new(line) as _)
            }),
        };
        let line = line.map_err(|source| Error::NoConnection { address: address.to_string(), source })?;
        Ok(Self::over(line))
    }

    /// Over a socket that is connected already.
    pub fn from_unix(stream: UnixStream) -> Self {
        Self::over(Box::new(stream))
    }

    fn over(line: Box<dyn Line>) -> Self {
        // Answers to an earlier client of the port may still be on their way: theirs have other numbers.
        let start = std::process::id().wrapping_mul(0x9e37_79b1) >> 2;
        let client = Client::starting_after(start);
        Self { line, client, ack_timeout: ACK_TIMEOUT, inbox: VecDeque::new() }
    }

    /// With another patience for acknowledgements.
    pub fn with_ack_timeout(mut self, time: Duration) -> Self {
        self.ack_timeout = time;
        self
    }

    /// Sends a request and returns its id, without waiting for anything.
    pub fn send(&mut self, message: &Message, token: Option<Token>) -> Result<u32, Error> {
        let id = self.client.ask(message, token)?;
        let bytes = self.client.outgoing().to_vec();
        self.client.sent(bytes.len());
        self.send_bytes(&bytes)?;
        Ok(id)
    }

    /// Sends bytes as they are: what a broken or hostile host might send.
    pub fn send_bytes(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let sent = self.line.limit(self.ack_timeout).and_then(|()| self.line.write_all(bytes));
        sent.map_err(|error| match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => Error::NoAck(self.ack_timeout),
            _ => Error::Broken(error),
        })
    }

    /// Waits until a request is acknowledged and returns the number in the acknowledgement.
    pub fn ack(&mut self, id: u32) -> Result<u64, Error> {
        match self.next(id, self.ack_timeout)? {
            None => Err(Error::NoAck(self.ack_timeout)),
            Some(Reply::Ack { number }) => Ok(number),
            Some(Reply::Refused { reason, retry_after_ms, text }) => {
                Err(Error::Refused { reason, retry_after_ms, text })
            }
            Some(other) => Err(unexpected(&other)),
        }
    }

    /// Sends a request and waits for its acknowledgement: its id, and the number in it.
    pub fn ask(&mut self, message: &Message, token: Option<Token>) -> Result<(u32, u64), Error> {
        let id = self.send(message, token)?;
        self.ack(id).map(|number| (id, number))
    }

    /// The next reply to a request; `None` when there is none within `patience`.
    pub fn next(&mut self, id: u32, patience: Duration) -> Result<Option<Reply>, Error> {
        self.wait(patience, |inbox| {
            let at = inbox.iter().position(|(of, _)| *of == id)?;
            inbox.remove(at).map(|(_, reply)| reply)
        })
    }

    /// The next reply to whichever request.
    pub fn next_of_any(&mut self, patience: Duration) -> Result<Option<(u32, Reply)>, Error> {
        self.wait(patience, VecDeque::pop_front)
    }

    fn wait<T>(
        &mut self,
        patience: Duration,
        mut found: impl FnMut(&mut VecDeque<(u32, Reply)>) -> Option<T>,
    ) -> Result<Option<T>, Error> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(found) = found(&mut self.inbox) {
                return Ok(Some(found));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            self.read(left).map_err(Error::Broken)?;
        }
    }

    /// Takes what arrives, for at most `time`.
    fn read(&mut self, time: Duration) -> io::Result<()> {
        self.line.limit(time)?;
        let mut buffer = [0; 16 * 1024];
        match self.line.read(&mut buffer) {
            Ok(0) => Err(io::Error::new(ErrorKind::UnexpectedEof, "the other end closed it")),
            Ok(n) => {
                let inbox = &mut self.inbox;
                self.client.receive(buffer.get(..n).unwrap_or_default(), |id, reply| {
                    if inbox.len() == INBOX {
                        inbox.pop_front();
                    }
                    inbox.push_back((id, reply));
                });
                Ok(())
            }
            Err(error) => match error.kind() {
                // A signal (Ctrl-C) or the time is up: whoever waits looks again.
                ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted => Ok(()),
                _ => Err(error),
            },
        }
    }
}

/// A reply that does not belong to the request, as from another version's kernel.
pub(crate) fn unexpected(reply: &Reply) -> Error {
    let text = format!("a reply of type {:#04x} does not belong to this request", reply.kind());
    Error::Broken(io::Error::new(ErrorKind::InvalidData, text))
}
