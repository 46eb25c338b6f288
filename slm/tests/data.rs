//! The data steps as their user runs them, on texts of a user's own: nothing is fetched.

use std::path::Path;
use std::process::{Command, Output};

use slm::data::{Coder, gather};
use slm::run_folder::{RunFolder, Split};
use tokenizers::Tokenizer;

fn auton(run: &Path, step: &[&str], more: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_auton"))
        .args(step)
        .args(["--run".as_ref(), run.as_os_str()])
        .args(more)
        .output()
        .unwrap()
}

fn done(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The one sentence of a failed run.
fn refusal(output: &Output) -> String {
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && error.starts_with("error: "), "{output:?}");
    assert_eq!(error.trim_end().lines().count(), 1, "more than one sentence: {error}");
    error
}

/// A folder of 150 small texts, no two alike.
fn texts(folder: &Path) -> String {
    let texts = folder.join("texts");
    std::fs::create_dir_all(&texts).unwrap();
    for n in 0..150u64 {
        let word = |k: u64| {
            ["kernel", "memory", "page", "device", "driver", "naïve", "日本", "boot"][(k % 8) as usize]
        };
        let text: String =
            (0..80).map(|k| format!("{} {}-{n}\n", word(n * 31 + k * k * 7), word(k + n))).collect();
        std::fs::write(texts.join(format!("{n:03}.txt")), text).unwrap();
    }
    texts.display().to_string()
}

#[test]
fn texts_become_tokens_that_give_them_back_and_the_same_each_time() {
    let folder = tempfile::tempdir().unwrap();
    let texts = texts(folder.path());
    let [a, b] = ["a", "b"].map(|name| {
        let run = folder.path().join(name);
        done(&auton(&run, &["tokenizer", "train"], &["--vocab", "300", "--text", &texts]));
        let printed = done(&auton(&run, &["data", "build"], &["--text", &texts]));
        assert!(printed.contains("bytes a token"), "{printed}");
        RunFolder::new(run)
    });
    let tokenizer = Tokenizer::from_file(a.tokenizer()).unwrap();
    let mut documents = 0;
    for split in Split::ALL {
        let bytes = std::fs::read(a.tokens(split)).unwrap();
        assert_eq!(
            bytes,
            std::fs::read(b.tokens(split)).unwrap(),
            "{split:?} differs from one run to the next"
        );
        let ids: Vec<u32> = bytes.as_chunks::<2>().0.iter().map(|b| u16::from_le_bytes(*b).into()).collect();
        assert_eq!(ids.last(), Some(&0), "the last document of {split:?} is not ended");
        for document in ids.split(|id| *id == 0).filter(|d| !d.is_empty()) {
            let text = tokenizer.decode(document, false).unwrap();
            assert!(text.lines().count() == 80 && !text.contains('\u{fffd}'), "{text}");
            documents += 1;
        }
    }
    assert_eq!(documents, 150);
    let held_out = std::fs::read_to_string(a.documents(Split::Test)).unwrap();
    assert!(held_out.lines().all(|l| l.starts_with("{\"source\":\"text\"")) && !held_out.is_empty());

    let findings = done(&auton(a.path(), &["data", "analyze"], &["--json", "--text", &texts]));
    let findings: serde_json::Value = serde_json::from_str(&findings).unwrap();
    assert_eq!(findings["sources"]["text"]["documents"], 150);
    assert_eq!(findings["tokens"]["vocabulary"], 300);
    assert!(done(&auton(a.path(), &["data", "analyze"], &["--text", &texts])).contains("bytes/token"));
}

#[test]
fn every_kind_of_tokenizer_is_trained_and_checked() {
    let folder = tempfile::tempdir().unwrap();
    let texts = texts(folder.path());
    for kind in ["bpe", "wordpiece", "unigram"] {
        let run = folder.path().join(kind);
        let more = ["--kind", kind, "--vocab", "300", "--text", &texts];
        assert!(done(&auton(&run, &["tokenizer", "train"], &more)).contains("bytes a token"));
        done(&auton(&run, &["data", "build"], &["--text", &texts]));
        let tokenizer = Tokenizer::from_file(RunFolder::new(&run).tokenizer()).unwrap();
        let ids = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"].map(|t| tokenizer.token_to_id(t));
        assert_eq!(ids, [Some(0), Some(1), Some(2)], "{kind}");
    }
}

#[test]
fn marks_in_a_text_are_text() {
    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join("marks.txt");
    std::fs::write(&text, "say <|endoftext|> and <|im_end|> at once\n".repeat(40)).unwrap();
    let run = RunFolder::new(folder.path().join("run"));
    let more = ["--vocab", "300", "--text", text.to_str().unwrap()];
    // One document may fall into any split: the seed puts it among those to train on.
    let seed = (0..).map(|n| n.to_string()).find(|seed| {
        auton(run.path(), &["tokenizer", "train"], &[&more[..], &["--seed", seed]].concat()).status.success()
    });
    let document = gather(&run, std::slice::from_ref(&text)).unwrap().documents.remove(0);
    let ids = Coder::open(&run.tokenizer()).unwrap().encode(&document).unwrap();
    assert!(seed.is_some() && ids.iter().all(|id| *id > 2), "{ids:?}");
}

#[test]
fn a_corpus_that_is_no_text_is_cleaned_in_bounded_memory_and_counted() {
    let folder = tempfile::tempdir().unwrap();
    let texts = texts(folder.path());
    let bad = folder.path().join("bad.txt");
    std::fs::write(&bad, b"caf\xe9 and \xff\xfe\nbell \x07\n").unwrap();
    // A line of 1 GiB of zeros, of which the disk holds nothing.
    let long = folder.path().join("long.txt");
    std::fs::File::create(&long).unwrap().set_len(1 << 30).unwrap();
    let run = folder.path().join("run");
    let paths = ["--text", &texts, "--text", bad.to_str().unwrap(), "--text", long.to_str().unwrap()];
    done(&auton(&run, &["tokenizer", "train"], &[&paths[..], &["--vocab", "300"]].concat()));
    done(&auton(&run, &["data", "build"], &paths));
    let data: serde_json::Value =
        serde_json::from_slice(&std::fs::read(run.join("data/data.json")).unwrap()).unwrap();
    assert_eq!(data["cleaned"]["invalid_utf8"], 3);
    assert_eq!(data["cleaned"]["cut_lines"], 1);
    assert_eq!(data["cleaned"]["control_characters"], 1 + (1 << 20));
    assert_eq!(data["cleaned"]["empty"], 1);
}

#[test]
fn what_is_missing_or_wrong_is_said_in_one_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let texts = texts(folder.path());
    let run = folder.path().join("run");
    let fault = |step: &[&str], more: &[&str]| refusal(&auton(&run, step, more));
    assert!(fault(&["tokenizer", "train"], &[]).contains("auton data fetch"));
    assert!(fault(&["data", "build"], &["--text", &texts]).contains("auton tokenizer train"));
    assert!(
        fault(&["tokenizer", "train"], &["--vocab", "100", "--text", &texts]).contains("name 259 to 65536")
    );
    assert!(fault(&["data", "analyze"], &["--text", "/nowhere"]).contains("/nowhere"));
    std::fs::create_dir_all(&run).unwrap();
    std::fs::write(run.join("tokenizer.json"), "{}").unwrap();
    assert!(fault(&["data", "build"], &["--text", &texts]).contains("is no tokenizer"));
    std::fs::create_dir_all(run.join("corpus")).unwrap();
    std::fs::write(run.join("corpus/man.jsonl"), "{\"source\":\"man\"}\n").unwrap();
    assert!(fault(&["data", "analyze"], &[]).contains("man.jsonl:1"));
    let debs = folder.path().join("debs");
    let fetch = ["--sample", "1MB", "--mirror", "http://127.0.0.1:9", "--debs", debs.to_str().unwrap()];
    assert!(fault(&["data", "fetch"], &fetch).contains("cannot fetch the package"));
}
