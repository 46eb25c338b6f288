//! Both ends together: what is served, what is refused, what is bounded.

use control::frame::{self, Decoder};
use control::session::{CONTROL_ROOM, INFER_LIMIT, LIVE_LIMIT, OUTGOING_LIMIT};
use control::{
    Authority, Client, End, EndReason, Event, Infer, Kind, Message, Priority, Reason, Refusal, Reply,
    ReplyError, Request, Session, Token,
};
use proptest::prelude::*;

/// A kernel with one port, its host, and the tokens.
struct Line {
    kernel: Session,
    authority: Authority,
    host: Client,
    admin: Token,
    submit: Token,
}

impl Line {
    fn new() -> Self {
        let mut authority = Authority::new();
        let admin = authority.rotate(Kind::Admin, 0x1111).unwrap();
        let submit = authority.rotate(Kind::Submit, 0x2222).unwrap();
        Line { kernel: Session::new(7), authority, host: Client::new(), admin, submit }
    }

    /// Hands what the host has queued to the kernel; what the kernel saw.
    fn deliver(&mut self) -> Vec<Event> {
        assert_eq!(self.kernel.feed(self.host.outgoing()), self.host.outgoing().len());
        self.host.sent(usize::MAX);
        self.poll()
    }

    fn poll(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.kernel.poll(0, &mut self.authority)).collect()
    }

    /// The one request that comes of asking this.
    fn request(&mut self, message: &Message, token: Token) -> Request {
        self.host.ask(message, Some(token)).unwrap();
        let [Event::Request(request)] = &self.deliver()[..] else { panic!("no request came of {message:?}") };
        request.clone()
    }

    /// The reason for which this is refused, as the host is told; the audit is told the same.
    fn refusal(&mut self, message: &Message, token: Token) -> Reason {
        self.host.ask(message, Some(token)).unwrap();
        let events = self.deliver();
        let [.., (_, Reply::Refused { reason, .. })] = self.replies()[..] else { panic!("no refusal") };
        assert_eq!(events, [Event::Refused(Refusal { client: 7, frame: message.kind(), reason })]);
        reason
    }

    /// What the kernel has queued, as the host reads it.
    fn replies(&mut self) -> Vec<(u32, Reply)> {
        let mut replies = Vec::new();
        self.host.receive(self.kernel.outgoing(), |id, reply| replies.push((id, reply)));
        self.kernel.sent(usize::MAX);
        replies
    }
}

fn infer(prompt: &str) -> Message {
    Message::Infer(Infer {
        max_tokens: 8,
        chunk_tokens: 1,
        priority: Priority::Normal,
        stream: true,
        deadline_ms: 0,
        prompt: prompt.into(),
    })
}

const ACK: Reply = Reply::Ack { number: 0 };
const END: Reply =
    Reply::End(End { reason: EndReason::Finished, tokens: 1, elapsed_ns: 5, first_token_ns: 2 });

fn chunk(bytes: usize) -> Reply {
    Reply::Chunk { sequence: 0, tokens: 1, bytes: vec![b'x'; bytes] }
}

#[test]
fn several_inferences_are_streamed_side_by_side() {
    let mut line = Line::new();
    let submit = line.submit;
    let requests: Vec<_> =
        (0..INFER_LIMIT).map(|n| line.request(&infer(&format!("question {n}")), submit)).collect();
    assert_eq!(requests[3].message, infer("question 3"));
    assert_eq!(line.refusal(&infer("one more"), submit), Reason::Busy);
    for (number, request) in (100..).zip(&requests) {
        line.kernel.reply(request.id, &Reply::Ack { number }).unwrap();
    }
    for request in requests.iter().rev() {
        line.kernel.reply(request.id, &chunk(3)).unwrap();
        line.kernel.reply(request.id, &END).unwrap();
    }
    let replies = line.replies();
    assert_eq!(replies.len(), 3 * INFER_LIMIT);
    assert_eq!(replies.last(), Some(&(requests[0].id.frame(), END)));
    assert!(line.kernel.live().is_empty());
    line.request(&infer("one more"), submit);
}

#[test]
fn a_request_is_answered_first_and_once() {
    let mut line = Line::new();
    let request = line.request(&infer("x"), line.submit);
    for early in [chunk(1), END] {
        assert_eq!(line.kernel.reply(request.id, &early), Err(ReplyError::OutOfOrder));
    }
    line.kernel.reply(request.id, &ACK).unwrap();
    for late in [ACK, Reply::refused(Reason::NoModel, "none")] {
        assert_eq!(line.kernel.reply(request.id, &late), Err(ReplyError::OutOfOrder));
    }
    line.kernel.reply(request.id, &END).unwrap();
    assert_eq!(line.kernel.reply(request.id, &END), Err(ReplyError::Gone));
    // Where an ack is all, nothing may follow; where it is refused, nothing may either.
    let begin = Message::UploadBegin { size: 9, sha256: [1; 32], name: "m".into() };
    let begin = line.request(&begin, line.admin);
    line.kernel.reply(begin.id, &Reply::Ack { number: 4 }).unwrap();
    let load = line.request(&Message::Load { name: String::new(), wcet_cycles: 0 }, line.admin);
    line.kernel.reply(load.id, &Reply::refused(Reason::Busy, "a model is being loaded")).unwrap();
    for over in [begin, load] {
        assert_eq!(line.kernel.reply(over.id, &ACK), Err(ReplyError::Gone));
    }
}

#[test]
fn each_bad_token_is_refused_for_what_is_wrong_with_it() {
    let mut line = Line::new();
    let (admin, submit) = (line.admin, line.submit);
    let load = Message::Load { name: "m".into(), wcet_cycles: 1 };
    assert_eq!(line.refusal(&load, submit), Reason::Weak);
    assert_eq!(line.refusal(&load, Token::from_bits(admin.to_bits() ^ 1)), Reason::Denied);
    // The submit secret that claims to be an administrator's.
    assert_eq!(line.refusal(&load, Token::from_bits(submit.to_bits() ^ 3 << 56)), Reason::Denied);
    line.authority.rotate(Kind::Admin, 0x3333).unwrap();
    assert_eq!(line.refusal(&load, admin), Reason::Expired);
    // A payload that ends before its token.
    let mut bytes = Vec::new();
    frame::encode(load.kind(), 1000, &[0; 7], &mut bytes).unwrap();
    line.kernel.feed(&bytes);
    let truncated = Refusal { client: 7, frame: 0x10, reason: Reason::Truncated };
    assert_eq!(line.poll(), [Event::Refused(truncated)]);
    let counts = line.kernel.counts();
    assert_eq!((counts.frames, counts.refused, counts.denied), (5, 5, 5));
    line.replies();

    line.host = Client::starting_after(2000);
    for _ in 0..2 {
        assert_eq!(line.refusal(&load, Token::from_bits(5)), Reason::Denied);
    }
    // Five wrong ones in a row: now the right token is refused, too, and the host is told for how long.
    line.host.ask(&infer("x"), Some(submit)).unwrap();
    line.deliver();
    assert!(matches!(
        line.replies()[..],
        [(_, Reply::Refused { reason: Reason::LockedOut, retry_after_ms: 1000, .. })]
    ));
    // What needs no token is served all the same.
    line.request(&Message::Status, submit);
}

#[test]
fn a_replay_is_refused_and_so_is_an_id_in_use() {
    let mut line = Line::new();
    line.host.ask(&infer("x"), Some(line.submit)).unwrap();
    let recorded = line.host.outgoing().to_vec();
    assert!(matches!(line.deliver()[..], [Event::Request(_)]));
    for _ in 0..2 {
        line.kernel.feed(&recorded);
        let refused = Refusal { client: 7, frame: 0x11, reason: Reason::Replayed };
        assert_eq!(line.poll(), [Event::Refused(refused)]);
        // The refusal carries the id of the running inference and does not end it.
        assert_eq!(line.kernel.live().len(), 1);
    }
    // On another connection it is as good as its token: this is the limit that the crate admits.
    line.kernel.disconnected();
    line.kernel.feed(&recorded);
    assert!(matches!(line.poll()[..], [Event::Request(_)]));
    line.authority.rotate(Kind::Submit, 0x4444).unwrap();
    line.kernel.disconnected();
    line.kernel.feed(&recorded);
    assert!(matches!(line.poll()[..], [Event::Refused(Refusal { reason: Reason::Expired, .. })]));
}

#[test]
fn an_inference_is_cancelled_by_its_asker_or_an_administrator() {
    let mut line = Line::new();
    let (admin, submit) = (line.admin, line.submit);
    let request = line.request(&infer("x"), submit);
    let cancel = Message::Cancel { number: 42 };
    // Not yet acknowledged: nobody knows the number.
    assert_eq!(line.refusal(&cancel, submit), Reason::UnknownRequest);
    line.kernel.reply(request.id, &Reply::Ack { number: 42 }).unwrap();
    let asked = line.request(&cancel, submit);
    line.kernel.reply(asked.id, &ACK).unwrap();
    assert_eq!(line.refusal(&Message::Cancel { number: 43 }, submit), Reason::UnknownRequest);
    assert_eq!(line.request(&Message::Cancel { number: 43 }, admin).message, Message::Cancel { number: 43 });
}

#[test]
fn nobody_waits_for_what_a_lost_host_asked() {
    let mut line = Line::new();
    let request = line.request(&infer("x"), line.submit);
    line.kernel.reply(request.id, &Reply::Ack { number: 9 }).unwrap();
    line.request(&Message::Status, line.submit);
    // The host goes in the middle of a frame.
    line.host.ask(&Message::Ping(1), None).unwrap();
    let half = line.host.outgoing()[..10].to_vec();
    line.kernel.feed(&half);
    let gone = line.kernel.disconnected();
    assert_eq!(gone.iter().map(|r| (r.kind, r.number)).collect::<Vec<_>>(), [(0x11, Some(9)), (0x02, None)]);
    assert_eq!(line.kernel.outgoing(), b"");
    // The next host uses the same ids. It gets none of the old answers, and its first frame is whole.
    line.host = Client::new();
    let again = line.request(&infer("y"), line.submit);
    assert_eq!(again.id.frame(), request.id.frame());
    assert_eq!(line.kernel.reply(request.id, &END), Err(ReplyError::Gone));
    line.kernel.reply(again.id, &ACK).unwrap();
    assert_eq!(line.replies(), [(again.id.frame(), ACK)]);
}

#[test]
fn a_host_that_never_reads_is_sent_no_more_and_heard_no_more() {
    let mut line = Line::new();
    let request = line.request(&infer("x"), line.submit);
    line.kernel.reply(request.id, &Reply::Ack { number: 1 }).unwrap();
    for bytes in [1000, 1] {
        while line.kernel.reply(request.id, &chunk(bytes)).is_ok() {}
    }
    assert_eq!(line.kernel.reply(request.id, &END), Err(ReplyError::Full));
    assert!(line.kernel.outgoing().len() <= OUTGOING_LIMIT - CONTROL_ROOM);
    // A cancellation still gets through.
    let cancel = line.request(&Message::Cancel { number: 1 }, line.submit);
    line.kernel.reply(cancel.id, &ACK).unwrap();
    let mut sent = 0;
    for number in 0..1000 {
        line.host.ask(&Message::Ping(number), None).unwrap();
    }
    let bytes = line.host.outgoing().to_vec();
    while let taken @ 1.. = line.kernel.feed(&bytes[sent..]) {
        sent += taken;
        line.poll();
    }
    assert!(!line.kernel.has_room() && line.kernel.outgoing().len() <= OUTGOING_LIMIT);
    assert_eq!(line.kernel.reply(request.id, &END), Err(ReplyError::Full));
    // It reads: nothing that it had asked is lost, nor the end of its inference.
    let mut acks = 0;
    while sent < bytes.len() || !line.kernel.outgoing().is_empty() {
        acks += line.replies().iter().filter(|(_, reply)| matches!(reply, Reply::Ack { .. })).count();
        line.poll();
        sent += line.kernel.feed(&bytes[sent..]);
        line.poll();
    }
    assert_eq!(acks, 2 + 1000);
    line.kernel.reply(request.id, &END).unwrap();
    assert!(line.kernel.live().is_empty());
}

#[test]
fn requests_without_answers_are_bounded() {
    let mut line = Line::new();
    let submit = line.submit;
    for _ in 0..LIVE_LIMIT - INFER_LIMIT {
        line.request(&Message::Status, submit);
    }
    assert_eq!(line.refusal(&Message::Metrics, submit), Reason::Busy);
    // They leave room for inferences and pings.
    line.request(&infer("x"), submit);
    line.host.ask(&Message::Ping(3), None).unwrap();
    assert_eq!(line.deliver(), []);
    assert!(matches!(line.replies()[..], [(_, Reply::Ack { number: 3 })]));
}

#[test]
fn unknown_frames_are_refused_by_name() {
    let mut line = Line::new();
    let mut bytes = Vec::new();
    frame::encode(0x77, 1, b"", &mut bytes).unwrap();
    frame::encode(0x01, 2, b"short", &mut bytes).unwrap();
    line.host.ask(&Message::Ping(1), None).unwrap();
    let mut other = line.host.outgoing().to_vec();
    other[4] = 9;
    let crc = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC).checksum(&other[..20]);
    other[20..24].copy_from_slice(&crc.to_le_bytes());
    bytes.extend(other);
    line.kernel.feed(&bytes);
    line.poll();
    let replies = line.replies();
    let reasons: Vec<_> = replies
        .iter()
        .map(|(id, reply)| match reply {
            Reply::Refused { reason, .. } => (*id, *reason),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(reasons, [(1, Reason::Unsupported), (2, Reason::Malformed), (1, Reason::Version)]);
    assert!(matches!(&replies[2].1, Reply::Refused { text, .. } if text.contains("version 9")));
}

#[test]
fn no_prompt_and_no_token_is_printed() {
    let mut line = Line::new();
    let request = line.request(&infer("a secret wish"), line.submit);
    line.host.ask(&infer("a secret wish"), Some(line.submit)).unwrap();
    let half = line.host.outgoing().split_last().unwrap().1;
    line.kernel.feed(half);
    let printed = format!("{request:?} {:?} {:?} {:?}", line.kernel, line.host, line.authority);
    // Neither as text nor as numbers.
    let bytes = b"wish".map(|b| b.to_string()).join(", ");
    assert!(!printed.contains("wish") && !printed.contains(&bytes), "{printed}");
}

proptest! {
    #[test]
    fn no_stream_panics_or_grows(stream in prop::collection::vec(any::<u8>(), 0..3000), piece in 1usize..64) {
        let mut line = Line::new();
        for bytes in stream.chunks(piece) {
            line.kernel.feed(bytes);
            line.poll();
        }
        line.kernel.idle();
        line.poll();
        prop_assert!(line.kernel.outgoing().len() <= OUTGOING_LIMIT);
    }

    /// However the bytes are cut, every frame gets exactly one first reply.
    #[test]
    fn every_frame_is_answered_once(
        kinds in prop::collection::vec((any::<u8>(), prop::collection::vec(any::<u8>(), 0..60)), 0..60),
        piece in 1usize..200,
    ) {
        let mut line = Line::new();
        let mut stream = Vec::new();
        for (id, (kind, payload)) in (1..).zip(&kinds) {
            frame::encode(*kind, id, payload, &mut stream).unwrap();
        }
        let (mut sent, mut decoder, mut ids) = (0, Decoder::new(), Vec::new());
        while sent < stream.len() || !line.kernel.outgoing().is_empty() {
            let end = stream.len().min(sent + piece);
            sent += line.kernel.feed(&stream[sent..end]);
            for event in line.poll() {
                if let Event::Request(request) = event {
                    line.kernel.reply(request.id, &Reply::refused(Reason::Internal, "no")).unwrap();
                }
            }
            let n = decoder.push(line.kernel.outgoing());
            line.kernel.sent(n);
            while let Some(frame) = decoder.next() {
                ids.push(frame.unwrap().id);
            }
        }
        // A request is answered when the kernel gets to it; what follows it may be refused before.
        ids.sort_unstable();
        prop_assert_eq!(ids, (1..=kinds.len() as u32).collect::<Vec<_>>());
    }
}
