//! What host, line and kernel do, beside a model of what must come of it.
//!
//! Held: however the bytes come, exactly the frames that lie in them are seen; each is answered once, by an ack or a
//! refusal; nothing that needs a right is let through without a token that has it at that moment, and no good token is
//! refused as bad; at no time is more held than is promised.

use crate::random::Random;
use crate::reference::{Item, Stretch, crc};
use crate::run::Target;
use control::authority::{CLIENT_FAILURES, EMBEDDED};
use control::frame::{HEADER, encode};
use control::message::{is_answered_by_ack, needed_rights};
use control::session::{LIVE_LIMIT, OUTGOING_LIMIT};
use control::{
    Authority, Client, End, EndReason, Event, Infer, KeyError, Kind, Message, Priority, Reason, Reply,
    ReplyError, Request, Rights, Session, Token,
};
use std::collections::{BTreeMap, BTreeSet};

/// Bytes of one step in an input.
const STEP: usize = 4;
/// Steps that are taken of an input.
const MAX_STEPS: usize = 64;
const KINDS: [u8; 16] =
    [0x01, 0x02, 0x10, 0x11, 0x12, 0x13, 0x14, 0x20, 0x21, 0x22, 0x30, 0x00, 0x80, 0x91, 0xff, 0x11];

/// The target.
pub struct FrameTarget;

impl Target for FrameTarget {
    fn seeds(&mut self) -> Vec<Vec<u8>> {
        Vec::new()
    }

    fn words(&self) -> Vec<&'static [u8]> {
        Vec::new()
    }

    fn generate(&mut self, random: &mut Random) -> Option<Vec<u8>> {
        Some((0..STEP * (1 + random.below(MAX_STEPS))).map(|_| random.next() as u8).collect())
    }

    fn execute(&mut self, input: &[u8]) -> String {
        let mut line = Line::new();
        for step in input.as_chunks::<STEP>().0.iter().take(MAX_STEPS) {
            line.step(*step);
            line.check();
        }
        line.finish()
    }
}

struct Line {
    session: Session,
    authority: Authority,
    client: Client,
    now: u64,
    good: BTreeMap<u64, Rights>,
    /// Those that were good before the last rotation of their kind, by whether they are administrators'.
    expired: BTreeMap<bool, BTreeSet<u64>>,
    randoms: u64,
    /// Wrong tokens that were compared since the beginning.
    failures: u32,
    /// Bytes that were sent since the last silence, as far as the session took them.
    stretch: Stretch,
    /// Frames to be sent again.
    recorded: Vec<Vec<u8>>,
    next_id: u32,
    /// The largest id of a sound frame.
    last_id: u32,
    /// Requests that were handed on: acknowledged or not.
    open: Vec<(Request, bool)>,
    /// Items of this connection less first replies that were read, by id.
    unanswered: BTreeMap<u32, i64>,
    served: u64,
    refused: BTreeSet<u8>,
}

impl Line {
    fn new() -> Self {
        let mut line = Line {
            session: Session::new(3),
            authority: Authority::new(),
            client: Client::new(),
            now: 0,
            good: BTreeMap::new(),
            expired: BTreeMap::new(),
            randoms: 0,
            failures: 0,
            stretch: Stretch::default(),
            recorded: Vec::new(),
            next_id: 0,
            last_id: 0,
            open: Vec::new(),
            unanswered: BTreeMap::new(),
            served: 0,
            refused: BTreeSet::new(),
        };
        line.rotate(Kind::Admin);
        line.rotate(Kind::Submit);
        line
    }

    fn step(&mut self, [op, a, b, c]: [u8; STEP]) {
        match op % 16 {
            // A sound frame of some type, with some token and payload.
            0..3 => {
                let frame = self.frame(a, b, c);
                self.send(&frame, c);
            }
            // What a true host would ask.
            3..5 => {
                let message = self.message(a, b);
                let token = self.token(c);
                self.next_id += 1;
                let mut frame = Vec::new();
                encode(message.kind(), self.next_id, &message.payload(token), &mut frame).unwrap();
                self.send(&frame, a ^ c);
            }
            // A frame with a bit flipped, cut short, or with a wrong length or version under a right checksum.
            5 => {
                let mut frame = self.frame(a, b, c);
                let at = usize::from(b).wrapping_mul(7) % frame.len();
                frame[at] ^= 1 << (c & 7);
                self.send(&frame, a);
            }
            6 => {
                let mut frame = self.frame(a, b, 0);
                frame.truncate(usize::from(c) % frame.len());
                self.send(&frame, b);
            }
            7 => {
                let mut frame = self.frame(a, b, 0);
                frame[[4, 12, 13, 14, 8, 5][usize::from(c) % 6]] = b;
                let sum = crc(&frame[..20]);
                frame[20..HEADER].copy_from_slice(&sum.to_le_bytes());
                self.send(&frame, c);
            }
            // Noise, and pieces of magic.
            8 => {
                let noise = [b"AUTN".as_slice(), &[a, b, c], b"AU", b"AUTN\x02", b"NTUA"].concat();
                self.send(&noise[usize::from(a) % 7..][..usize::from(b) % 10], c);
            }
            9 => {
                if let Some(at) = usize::from(a).checked_rem(self.recorded.len()) {
                    // Now and then often enough to fill what waits to be read.
                    let times = if c < 16 { 200 } else { 1 };
                    let frames = self.recorded[at].repeat(times);
                    self.send(&frames, b);
                }
            }
            // A frame inside the payload of another, which is damaged or not.
            10 => {
                let inner = self.frame(a, b, c);
                self.next_id += 1;
                let mut outer = Vec::new();
                encode(KINDS[usize::from(b) % 16], self.next_id, &inner, &mut outer).unwrap();
                let last = outer.len() - 1;
                outer[if c & 1 == 0 { last } else { 21 }] ^= c & 6;
                self.send(&outer, a);
            }
            11 => self.answer(a, b),
            12 => self.read(usize::from(a) << 6 | usize::from(b)),
            13 => self.silence(),
            14 if a & 7 == 0 => self.disconnect(),
            14 => self.now += u64::from(a) << (b % 36),
            _ => match a % 4 {
                0 => self.rotate(Kind::Admin),
                1 => self.rotate(Kind::Submit),
                2 => self.embed(Kind::Admin),
                _ => self.embed(Kind::Submit),
            },
        }
    }

    fn frame(&mut self, a: u8, b: u8, c: u8) -> Vec<u8> {
        let kind = if b >= 0xfc { a } else { KINDS[usize::from(a) % 16] };
        let token = self.token(c);
        let mut payload = match needed_rights(kind) {
            Some(Rights::NONE) | None => Vec::new(),
            Some(_) => token.to_bits().to_le_bytes().to_vec(),
        };
        // Bodies of about the right sizes.
        payload.extend((0..usize::from(b % 48)).map(|n| if n % 3 == 0 { a >> 4 } else { n as u8 & 1 }));
        if b % 61 == 60 {
            payload.truncate(usize::from(c) % 9);
        }
        self.next_id = match c & 0xe0 {
            0xe0 => self.next_id + u32::from(a) + 1,
            0xc0 => self.next_id.saturating_sub(u32::from(a)),
            _ => self.next_id + 1,
        };
        let mut frame = Vec::new();
        encode(kind, self.next_id, &payload, &mut frame).unwrap();
        if self.recorded.len() < 8 {
            self.recorded.push(frame.clone());
        }
        frame
    }

    fn message(&self, a: u8, b: u8) -> Message {
        let text = "x".repeat(usize::from(b));
        let infer = || Infer {
            max_tokens: u32::from(a),
            chunk_tokens: 1,
            priority: Priority::ALL[usize::from(b) % 3],
            stream: b & 1 == 1,
            deadline_ms: 0,
            prompt: text.clone(),
        };
        match a % 12 {
            0 => Message::Ping(u64::from(b)),
            1 => Message::Status,
            2 => Message::Load { name: text, wcet_cycles: 0 },
            3..6 => Message::Infer(infer()),
            6 => Message::Cancel { number: u64::from(b % 16) },
            7 => Message::Audit { before: u64::MAX, most: 3 },
            8 => Message::Metrics,
            9 => Message::UploadBegin { size: 5, sha256: [b; 32], name: text },
            10 => Message::UploadChunk { offset: u64::from(b), bytes: vec![a; usize::from(b)] },
            _ => Message::UploadEnd,
        }
    }

    /// Mostly a good token.
    fn token(&self, c: u8) -> Token {
        let nth = |set: &mut dyn Iterator<Item = u64>| {
            let all: Vec<u64> = set.collect();
            all.get(usize::from(c >> 3) % all.len().max(1)).copied().unwrap_or(0)
        };
        Token::from_bits(match c & 7 {
            6 => nth(&mut self.expired.values().flatten().copied()),
            // Another's rights on a good secret.
            7 if c & 8 != 0 => nth(&mut self.good.keys().copied()) ^ 3 << 56,
            7 => u64::from(c),
            _ => nth(&mut self.good.keys().copied()),
        })
    }

    /// Sends bytes in pieces and looks at what the kernel makes of them.
    fn send(&mut self, bytes: &[u8], cut: u8) {
        let piece = if cut & 1 == 0 { bytes.len() } else { 1 + usize::from(cut >> 2) };
        for mut rest in bytes.chunks(piece.max(1)) {
            loop {
                let taken = self.session.feed(rest);
                self.stretch.bytes.extend_from_slice(&rest[..taken]);
                rest = &rest[taken..];
                self.poll(false);
                if rest.is_empty() {
                    break;
                }
                if !self.session.has_room() {
                    // The kernel takes no more before the host reads.
                    self.read(usize::MAX);
                }
            }
        }
    }

    fn poll(&mut self, last: bool) {
        while let Some(event) = self.session.poll(self.now, &mut self.authority) {
            loop {
                let item = self.stretch.next(last).expect("nothing is seen that was not sent");
                if !self.is_pong(&item) {
                    self.judge(item, event);
                    break;
                }
            }
            self.check();
        }
        // What is left is what the session had no room for, and pings.
        if self.session.has_room() {
            while let Some(item) = self.stretch.next(last) {
                assert!(self.is_pong(&item), "{item:?} was not seen");
            }
        }
    }

    /// Whether the item is a ping that the session answered by itself. Counts it.
    fn is_pong(&mut self, item: &Item) -> bool {
        let Item::Frame(0x01, id, payload) = item else { return false };
        if *id <= self.last_id || payload.len() != 8 {
            return false;
        }
        self.last_id = *id;
        *self.unanswered.entry(*id).or_default() += 1;
        true
    }

    /// Whether this is what may come of the item.
    fn judge(&mut self, item: Item, event: Event) {
        let (Item::Frame(kind, id, _) | Item::Fault(kind, id)) = item;
        *self.unanswered.entry(id).or_default() += 1;
        let (reason, payload) = match (item, event) {
            (Item::Fault(..), Event::Refused(refusal)) => {
                assert_eq!((refusal.client, refusal.frame), (3, kind));
                let reasons = [Reason::Version, Reason::TooLong, Reason::Malformed];
                assert!(reasons.contains(&refusal.reason));
                self.refused.insert(refusal.reason.code());
                return;
            }
            (Item::Fault(..), Event::Request(request)) => panic!("{request:?} came of a damaged frame"),
            (Item::Frame(_, _, payload), Event::Refused(refusal)) => {
                assert_eq!((refusal.client, refusal.frame), (3, kind));
                self.refused.insert(refusal.reason.code());
                (Some(refusal.reason), payload)
            }
            (Item::Frame(_, _, payload), Event::Request(request)) => {
                assert_eq!((request.id.frame(), request.message.kind()), (id, kind));
                self.open.push((request, false));
                self.served += 1;
                (None, payload)
            }
        };
        if id <= self.last_id {
            assert_eq!(reason, Some(Reason::Replayed));
            return;
        }
        self.last_id = id;
        let Some(needed) = needed_rights(kind) else {
            assert_eq!(reason, Some(Reason::Unsupported));
            return;
        };
        if needed == Rights::NONE {
            assert!(matches!(reason, None | Some(Reason::Busy | Reason::Malformed)), "{reason:?}");
            return;
        }
        let Some(token) = payload.first_chunk::<8>().map(|token| u64::from_le_bytes(*token)) else {
            assert_eq!(reason, Some(Reason::Truncated));
            return;
        };
        match (reason, self.good.get(&token)) {
            (Some(Reason::LockedOut), _) => assert!(self.failures >= CLIENT_FAILURES),
            (Some(Reason::Denied | Reason::Expired), Some(_)) => panic!("a good token was refused"),
            (Some(Reason::Denied), None) => self.failures += 1,
            (Some(Reason::Expired), None) => {
                self.failures += 1;
                assert!(self.expired.values().any(|tokens| tokens.contains(&token)));
            }
            (Some(Reason::Weak), Some(rights)) => assert!(!rights.allow(needed)),
            (_, Some(rights)) => {
                assert!(rights.allow(needed), "{kind:#04x} was let through with too few rights");
                let busy = [Reason::Busy, Reason::Malformed, Reason::UnknownRequest];
                assert!(reason.is_none_or(|reason| busy.contains(&reason)), "{reason:?}");
            }
            (_, None) => panic!("{kind:#04x} was let through with nobody's token"),
        }
    }

    /// The kernel answers one of its requests, rightly or not.
    fn answer(&mut self, a: u8, b: u8) {
        let Some(at) = usize::from(a >> 4).checked_rem(self.open.len()) else { return };
        let (request, acked) = &mut self.open[at];
        let end = End { reason: EndReason::Finished, tokens: 1, elapsed_ns: 1, first_token_ns: 1 };
        let reply = match a % 8 {
            0..3 => Reply::Ack { number: u64::from(b % 16) },
            3 => Reply::refused(Reason::NoModel, "r".repeat(usize::from(b) * 2)),
            4..6 if b == 255 => {
                // A stream that nobody reads.
                let chunk = Reply::Chunk { sequence: 0, tokens: 1, bytes: vec![b; 1000] };
                while *acked && self.session.reply(request.id, &chunk).is_ok() {}
                return;
            }
            4..6 => Reply::Chunk { sequence: 0, tokens: 1, bytes: vec![b; usize::from(b) * 4] },
            6 => Reply::End(end),
            _ => Reply::Done { ok: true, elapsed_ns: 1, text: String::new() },
        };
        let before = self.session.outgoing().len();
        let answered = self.session.reply(request.id, &reply);
        let first = matches!(reply, Reply::Ack { .. } | Reply::Refused { .. });
        match answered {
            Ok(()) => {
                assert_eq!(first, !*acked, "out of order");
                let ack_is_all = is_answered_by_ack(request.message.kind());
                match reply {
                    Reply::Chunk { .. } => {}
                    Reply::Ack { .. } if !ack_is_all => *acked = true,
                    _ => drop(self.open.remove(at)),
                }
                return;
            }
            Err(ReplyError::OutOfOrder) => assert_eq!(first, *acked),
            Err(ReplyError::Full) => assert!(!first, "there is always room for a first reply"),
            Err(error) => panic!("{error}"),
        }
        assert_eq!(self.session.outgoing().len(), before, "an error changes nothing");
    }

    /// The host reads, and the kernel goes on.
    fn read(&mut self, most: usize) {
        self.receive(most);
        self.poll(false);
    }

    /// The host reads. An answer may be read before [`Self::poll`] has seen what it answers: a ping's.
    fn receive(&mut self, most: usize) {
        let bytes = self.session.outgoing();
        let bytes = bytes[..bytes.len().min(most)].to_vec();
        self.session.sent(bytes.len());
        let unanswered = &mut self.unanswered;
        self.client.receive(&bytes, |id, reply| {
            if matches!(reply, Reply::Ack { .. } | Reply::Refused { .. }) {
                *unanswered.entry(id).or_default() -= 1;
            }
        });
    }

    /// All that was sent has been decided upon and answered as far as the session does that itself; then the line is silent.
    fn silence(&mut self) {
        while !self.session.has_room() || !self.session.outgoing().is_empty() {
            self.read(usize::MAX);
        }
        self.session.idle();
        loop {
            self.poll(true);
            if self.session.has_room() {
                break;
            }
            self.receive(usize::MAX);
        }
        self.stretch = Stretch::default();
    }

    fn disconnect(&mut self) {
        let running = self.session.disconnected();
        assert_eq!(running.len(), self.open.len());
        for (request, acked) in self.open.drain(..) {
            let found = running.iter().find(|running| running.id == request.id);
            assert_eq!(found.map(|found| found.number.is_some()), Some(acked));
            let late = self.session.reply(request.id, &Reply::Ack { number: 0 });
            assert_eq!(late, Err(ReplyError::Gone));
        }
        self.client = Client::new();
        self.stretch = Stretch::default();
        self.unanswered.clear();
        (self.next_id, self.last_id) = (0, 0);
    }

    fn rotate(&mut self, kind: Kind) {
        self.randoms += 1;
        let token = self.authority.rotate(kind, self.randoms).unwrap();
        let rights = kind.rights();
        let old = self.good.extract_if(.., |_, had| *had == rights).map(|(token, _)| token).collect();
        self.expired.insert(kind == Kind::Admin, old);
        self.good.insert(token.to_bits(), rights);
    }

    fn embed(&mut self, kind: Kind) {
        self.randoms += 1;
        let given = self.good.values().filter(|rights| **rights == kind.rights()).count();
        match self.authority.embed(kind, self.randoms) {
            Ok(token) => drop(self.good.insert(token.to_bits(), kind.rights())),
            Err(error) => assert_eq!((error, given), (KeyError::TooMany, 1 + EMBEDDED)),
        }
    }

    fn check(&self) {
        assert!(self.session.outgoing().len() <= OUTGOING_LIMIT);
        assert!(self.session.live().len() <= LIVE_LIMIT);
        assert_eq!(self.session.live().len(), self.open.len());
    }

    /// All is answered; then nothing waits, and whatever came is accounted for.
    fn finish(mut self) -> String {
        self.silence();
        while let Some((request, acked)) = self.open.pop() {
            if !acked {
                self.session.reply(request.id, &Reply::refused(Reason::Internal, "the end")).unwrap();
            }
            self.read(usize::MAX);
        }
        self.silence();
        assert!(self.unanswered.values().all(|waiting| *waiting == 0), "{:?}", self.unanswered);
        format!("{} refusals, {} served", self.refused.len(), if self.served > 0 { "some" } else { "none" })
    }
}
