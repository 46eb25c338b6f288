//! Training as its user runs it: to the end, stopped and resumed, and against what goes wrong.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use llm::random::SplitMix64;
use safetensors::SafeTensors;

/// A run with data that can be learned: words of three tokens, in random order.
struct Run(tempfile::TempDir);

impl Run {
    fn new(settings: &str) -> Run {
        let run = Run(tempfile::tempdir().unwrap());
        let mut random = SplitMix64::new(1);
        for (name, words) in [("train", 3000), ("valid", 400)] {
            let words = (0..words).flat_map(|_| {
                let word = (random.next_u64() % 20) as u16 * 3;
                [word, word + 1, word + 2]
            });
            let bytes: Vec<u8> = words.flat_map(u16::to_le_bytes).collect();
            run.write(&format!("data/{name}.bin"), &bytes);
        }
        let shape = "name='t'\nlayers=1\nwidth=32\nffn=64\nheads=2\nkv_heads=1\nvocabulary=64\ncontext=32\n";
        run.write("c.toml", format!("{shape}[training]\nbatch=8\n{settings}").as_bytes());
        run
    }

    fn path(&self, place: &str) -> PathBuf {
        self.0.path().join(place)
    }

    fn write(&self, place: &str, bytes: &[u8]) {
        std::fs::create_dir_all(self.path(place).parent().unwrap()).unwrap();
        std::fs::write(self.path(place), bytes).unwrap();
    }

    fn command(&self, options: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_auton"));
        command
            .arg("train")
            .arg("--run")
            .arg(self.0.path())
            .arg("--config")
            .arg(self.path("c.toml"))
            .args(options);
        command
    }

    fn train(&self, options: &[&str]) -> Output {
        self.command(options).output().unwrap()
    }

    fn trained(&self, options: &[&str]) {
        let output = self.train(options);
        assert!(output.status.success(), "{output:?}");
    }

    fn refused(&self, options: &[&str]) -> String {
        let output = self.train(options);
        assert!(!output.status.success(), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    }

    /// Step, rate and losses of each update; not the seconds.
    fn curve(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.path("train/loss.csv")).unwrap();
        text.lines()
            .map(|line| {
                line.split(',')
                    .enumerate()
                    .filter(|(i, _)| *i != 2)
                    .map(|(_, cell)| cell)
                    .collect::<Vec<_>>()
                    .join(",")
            })
            .collect()
    }

    fn weights(&self) -> Vec<u8> {
        std::fs::read(self.path("model/model.safetensors")).unwrap()
    }
}

const SETTINGS: &str = "steps=60\nwarm_up=5\nvalidate_every=20\ncheckpoint_every=7\n";

#[test]
fn the_loss_falls_to_what_the_data_allow_and_the_curve_is_kept() {
    let settings = "steps=250\nwarm_up=10\nrate=0.01\nvalidate_every=50\n";
    let run = Run::new(settings);
    run.trained(&[]);
    let curve = run.curve();
    let cell = |line: &str, at: usize| line.split(',').nth(at).unwrap().parse::<f64>().unwrap();
    assert_eq!(curve.len(), 251);
    // Only the first token of a word of three is open: (ln 20) / 3.
    let (first, last) = (cell(&curve[1], 3), cell(&curve[250], 4));
    assert!(first > 3.9 && (0.95..1.25).contains(&last), "{first} {last}");
    for picture in ["train/loss.svg", "train/loss.png"] {
        assert!(run.path(picture).metadata().unwrap().len() > 1000);
    }
    let weights = run.weights();
    let file = SafeTensors::deserialize(&weights).unwrap();
    assert_eq!(file.tensor("model.layers.0.self_attn.k_proj.weight").unwrap().shape(), [16, 32]);
    // The same seed gives the same bytes, another one others.
    let again = Run::new(settings);
    again.trained(&[]);
    assert!(again.weights() == weights && again.curve() == curve);
    again.trained(&["--fresh", "--seed", "2"]);
    assert!(again.weights() != weights);
}

#[test]
fn a_run_stopped_anywhere_and_resumed_is_the_uninterrupted_run() {
    let whole = Run::new(SETTINGS);
    whole.trained(&[]);
    let parts = Run::new(SETTINGS);
    for until in ["3", "20", "31", "60"] {
        parts.trained(&["--until", until]);
    }
    assert_eq!(parts.curve(), whole.curve());
    assert!(parts.weights() == whole.weights());
}

#[cfg(unix)]
#[test]
fn interrupted_or_killed_at_any_time_it_goes_on() {
    let settings = "steps=300\nwarm_up=5\nvalidate_every=100\ncheckpoint_every=5\n";
    let whole = Run::new(settings);
    whole.trained(&[]);
    let parts = Run::new(settings);
    for (turn, signal) in ["-INT", "-KILL", "-INT", "-KILL"].iter().enumerate() {
        let mut child = parts.command(&[]).stderr(Stdio::null()).spawn().unwrap();
        // Later each time, so that there is more to go on from.
        let checkpoint = parts.path("train/checkpoint.safetensors");
        let began = Instant::now();
        while !checkpoint.exists() && began.elapsed() < Duration::from_secs(60) {
            std::thread::sleep(Duration::from_millis(5));
        }
        std::thread::sleep(Duration::from_millis(37 * (turn as u64 + 1)));
        Command::new("kill").arg(signal).arg(child.id().to_string()).status().unwrap();
        child.wait().unwrap();
        assert!(checkpoint.exists());
    }
    parts.trained(&[]);
    assert_eq!(parts.curve(), whole.curve());
    assert!(parts.weights() == whole.weights());
}

#[test]
fn another_configuration_is_not_mixed_with_what_is_there() {
    let run = Run::new(SETTINGS);
    run.trained(&["--until", "5"]);
    let before = std::fs::read(run.path("train/checkpoint.safetensors")).unwrap();
    let error = run.refused(&["--rate", "0.01"]);
    assert!(error.contains("other settings") && error.contains("rate: 0.004 there, 0.01 here"), "{error}");
    run.write("data/train.bin", &[1, 0].repeat(2000));
    assert!(run.refused(&[]).contains("other data"));
    assert!(std::fs::read(run.path("train/checkpoint.safetensors")).unwrap() == before);
    run.write("train/checkpoint.safetensors", &before[..before.len() / 2]);
    assert!(run.refused(&[]).contains("is no checkpoint"));
    run.trained(&["--fresh", "--until", "2"]);
}

#[test]
fn what_cannot_be_trained_is_refused_in_a_sentence() {
    let run = Run::new("steps=0\n");
    assert!(run.refused(&[]).contains("steps is 0"));
    let run = Run::new("steps=10\nrat=1\n");
    assert!(run.refused(&[]).contains("rat"));
    let run = Run::new(SETTINGS);
    run.write("data/train.bin", &u16::to_le_bytes(64).repeat(100));
    assert!(run.refused(&[]).contains("token 64, but the vocabulary has 64"));
    std::fs::remove_file(run.path("data/train.bin")).unwrap();
    assert!(run.refused(&[]).contains("auton data build"));
}

/// A file system of half a MiB, where one can be mounted.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: &Path) -> Option<SmallDisk> {
        std::fs::create_dir_all(at).unwrap();
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", "size=448k", "auton-test"]).arg(at).output();
        mounted.is_ok_and(|o| o.status.success()).then(|| SmallDisk(at.into()))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_leaves_the_old_checkpoint() {
    let run = Run::new(SETTINGS);
    let Some(disk) = SmallDisk::mount(&run.path("train")) else {
        eprintln!("skipped: no file system can be mounted here");
        return;
    };
    run.trained(&["--until", "5"]);
    let checkpoint = run.path("train/checkpoint.safetensors");
    let before = std::fs::read(&checkpoint).unwrap();
    // Room for the old one and a bit.
    std::fs::write(disk.0.join("ballast"), vec![0; (448 << 10) - before.len() - (90 << 10)]).unwrap();
    let error = run.refused(&["--until", "9"]);
    assert!(error.contains("cannot write") && error.contains("checkpoint"), "{error}");
    assert!(std::fs::read(&checkpoint).unwrap() == before);
    std::fs::remove_file(disk.0.join("ballast")).unwrap();
    run.trained(&[]);
}
