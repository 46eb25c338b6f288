//! Frames through a hostile byte stream.

use control::frame::{MAGIC, MAX_FRAME, MAX_PAYLOAD, encode};
use control::{
    Decoder, End, EndReason, Infer, Message, ModelState, Priority, Reason, Record, Reply, Status, Token,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

type Owned = (u8, u32, Vec<u8>);

/// Feeds `stream` in pieces of `piece` bytes; the frames that came out.
fn frames(decoder: &mut Decoder, stream: &[u8], piece: usize) -> Vec<Owned> {
    let mut out = Vec::new();
    for mut bytes in stream.chunks(piece) {
        while !bytes.is_empty() {
            let taken = decoder.push(bytes);
            assert!(taken > 0, "there is room once all is decided");
            bytes = &bytes[taken..];
            out.extend(pull(decoder));
        }
    }
    out
}

fn pull(decoder: &mut Decoder) -> Vec<Owned> {
    let mut out = Vec::new();
    while let Some(frame) = decoder.next() {
        out.extend(frame.ok().map(|f| (f.kind, f.id, f.payload.to_vec())));
    }
    out
}

/// The line falls silent: what still waits for lost bytes is given up.
fn give_up(decoder: &mut Decoder) -> Vec<Owned> {
    decoder.give_up();
    pull(decoder)
}

fn frame() -> impl Strategy<Value = Owned> {
    (any::<u8>(), any::<u32>(), vec(any::<u8>(), 0..200))
}

/// Garbage of the nastiest kind: random bytes, pieces of magic, and true headers of an unborn frame, cut short.
fn garbage() -> impl Strategy<Value = Vec<u8>> {
    let cut_frame = (frame(), 0usize..24).prop_map(|((kind, id, payload), keep)| {
        let mut bytes = Vec::new();
        encode(kind, id, &payload, &mut bytes).unwrap();
        bytes.truncate(keep);
        bytes
    });
    let piece =
        prop_oneof![vec(any::<u8>(), 0..40), Just(MAGIC.to_vec()), Just(MAGIC[..2].to_vec()), cut_frame];
    vec(piece, 0..4).prop_map(|pieces| pieces.concat())
}

fn text() -> impl Strategy<Value = String> {
    "\\PC{0,40}"
}

fn message() -> impl Strategy<Value = Message> {
    let infer = (any::<(u32, u16, bool, u32)>(), select(Priority::ALL), text()).prop_map(
        |((max_tokens, chunk_tokens, stream, deadline_ms), priority, prompt)| {
            Message::Infer(Infer { max_tokens, chunk_tokens, priority, stream, deadline_ms, prompt })
        },
    );
    prop_oneof![
        any::<u64>().prop_map(Message::Ping),
        select(vec![Message::Status, Message::Metrics, Message::UploadEnd]),
        (text(), any::<u64>()).prop_map(|(name, wcet_cycles)| Message::Load { name, wcet_cycles }),
        infer,
        any::<u64>().prop_map(|number| Message::Cancel { number }),
        any::<(u64, u16)>().prop_map(|(before, most)| Message::Audit { before, most }),
        (any::<(u64, [u8; 32])>(), text()).prop_map(|((size, sha256), name)| Message::UploadBegin {
            size,
            sha256,
            name
        }),
        (any::<u64>(), vec(any::<u8>(), 0..100))
            .prop_map(|(offset, bytes)| Message::UploadChunk { offset, bytes }),
        (any::<u32>(), text()).prop_map(|(steps, data)| Message::Finetune { steps, data }),
    ]
}

fn record() -> impl Strategy<Value = Record> {
    let numbers = any::<([u64; 4], [u32; 3], [u8; 2])>();
    (numbers, "[a-z-]{0,32}").prop_map(|((long, [client, prompt_len, tokens], [op, status]), reason)| {
        let [sequence, ts_ns, wcet_cycles, period_ns] = long;
        Record { sequence, ts_ns, op, status, client, prompt_len, tokens, wcet_cycles, period_ns, reason }
    })
}

fn reply() -> impl Strategy<Value = Reply> {
    prop_oneof![
        any::<u64>().prop_map(|number| Reply::Ack { number }),
        (any::<[u64; 3]>(), any::<[u16; 3]>(), select(ModelState::ALL), text(), text()).prop_map(
            |(
                [uptime_ns, memory_total, memory_free],
                [cpus, running, waiting],
                model,
                model_name,
                kernel,
            )| {
                Reply::Status(Status {
                    uptime_ns,
                    memory_total,
                    memory_free,
                    cpus,
                    running,
                    waiting,
                    model,
                    model_name,
                    kernel,
                })
            }
        ),
        (any::<(u32, u16)>(), vec(any::<u8>(), 0..100))
            .prop_map(|((sequence, tokens), bytes)| Reply::Chunk { sequence, tokens, bytes }),
        (select(EndReason::ALL), any::<(u32, u64, u64)>()).prop_map(
            |(reason, (tokens, elapsed_ns, first_token_ns))| {
                Reply::End(End { reason, tokens, elapsed_ns, first_token_ns })
            }
        ),
        vec(record(), 0..4).prop_map(Reply::Records),
        (any::<(bool, u64)>(), text()).prop_map(|((ok, elapsed_ns), text)| Reply::Done {
            ok,
            elapsed_ns,
            text
        }),
        (select(Reason::ALL), any::<u32>(), text())
            .prop_map(|(reason, retry_after_ms, text)| Reply::Refused { reason, retry_after_ms, text }),
    ]
}

proptest! {
    #[test]
    fn frames_survive_garbage_around_them(
        parts in vec((garbage(), frame()), 1..8), tail in garbage(), piece in 1usize..64,
    ) {
        let mut stream = Vec::new();
        let mut sent = Vec::new();
        for (noise, (kind, id, payload)) in parts {
            stream.extend(noise);
            encode(kind, id, &payload, &mut stream).unwrap();
            sent.push((kind, id, payload));
        }
        stream.extend(tail);
        prop_assert_eq!(frames(&mut Decoder::new(), &stream, piece), sent);
    }

    #[test]
    fn a_frame_that_lost_bytes_costs_only_itself(
        lost in frame(), cut in 1usize..200, next in vec(frame(), 1..4), piece in 1usize..64,
    ) {
        let mut stream = Vec::new();
        encode(lost.0, lost.1, &lost.2, &mut stream).unwrap();
        stream.truncate(stream.len().saturating_sub(cut));
        for (kind, id, payload) in &next {
            encode(*kind, *id, payload, &mut stream).unwrap();
        }
        let mut decoder = Decoder::new();
        let mut got = frames(&mut decoder, &stream, piece);
        got.extend(give_up(&mut decoder));
        prop_assert_eq!(got, next);
        prop_assert!(!decoder.mid_frame());
    }

    #[test]
    fn a_flipped_bit_is_never_accepted(sent in frame(), at in any::<prop::sample::Index>(), bit in 0u8..8) {
        let mut stream = Vec::new();
        encode(sent.0, sent.1, &sent.2, &mut stream).unwrap();
        let at = at.index(stream.len());
        stream[at] ^= 1 << bit;
        let mut decoder = Decoder::new();
        let mut got = frames(&mut decoder, &stream, 16);
        got.extend(give_up(&mut decoder));
        prop_assert_eq!(got, vec![]);
    }

    #[test]
    fn no_payload_panics(kind in any::<u8>(), payload in vec(any::<u8>(), 0..200)) {
        let _ = (Message::parse(kind, &payload), Reply::parse(kind, &payload));
    }

    #[test]
    fn requests_round_trip(m in message(), token in any::<u64>()) {
        let payload = m.payload(Token::from_bits(token));
        let body = payload.strip_prefix(&token.to_le_bytes()).unwrap_or(&payload);
        prop_assert_eq!(Message::parse(m.kind(), body), Some(m));
    }

    #[test]
    fn replies_round_trip(r in reply()) {
        prop_assert_eq!(Reply::parse(r.kind(), &r.payload()), Some(r));
    }
}

#[test]
fn the_longest_frame_passes_and_a_longer_one_is_refused() {
    let mut stream = Vec::new();
    assert!(encode(1, 2, &[7; MAX_PAYLOAD + 1], &mut stream).is_err());
    encode(1, 2, &[7; MAX_PAYLOAD], &mut stream).unwrap();
    assert_eq!(stream.len(), MAX_FRAME);
    assert_eq!(frames(&mut Decoder::new(), &stream, usize::MAX).len(), 1);
}

#[test]
fn what_is_left_undecided_is_kept() {
    let mut stream = Vec::new();
    for id in 0..400 {
        encode(1, id, b"payload", &mut stream).unwrap();
    }
    let (mut decoder, mut rest, mut ids) = (Decoder::new(), &stream[..], Vec::new());
    // One frame is pulled for each push: the decoder fills up and then takes only what fits.
    while ids.len() < 400 {
        let taken = decoder.push(rest);
        rest = &rest[taken..];
        ids.extend(decoder.next().map(|frame| frame.unwrap().id));
    }
    assert_eq!((ids, decoder.skipped()), ((0..400).collect(), 0));
}

#[test]
fn the_longest_page_of_records_fits_a_frame() {
    let longest = Record { reason: "r".repeat(100), ..Record::default() };
    let page = Reply::Records(vec![longest; control::reply::PAGE_RECORDS]);
    assert!(encode(page.kind(), 1, &page.payload(), &mut Vec::new()).is_ok());
}
