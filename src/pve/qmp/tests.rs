use std::collections::VecDeque;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixListener;

use super::*;
use crate::domain::{Mib, Moment};

/// Long enough for any machine; no test waits for it.
const LONG: Duration = Duration::from_secs(60);

const GREETING: &str =
    r#"{"QMP": {"version": {"qemu": {"micro": 2, "minor": 2, "major": 10}}, "capabilities": []}}"#;

/// A monitor that serves one client: greets, then answers every command with the next line of a script. `{ID}` in a
/// line becomes the command's id; a line may be several lines.
struct Monitor {
    _dir: tempfile::TempDir,
    socket: PathBuf,
    asked: tokio::task::JoinHandle<Vec<String>>,
}

fn monitor(greeting: &str, script: Vec<String>) -> Monitor {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("101.qmp");
    let listener = UnixListener::bind(&socket).unwrap();
    let greeting = greeting.to_owned();
    let asked = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let (reading, mut writing) = stream.into_split();
        let mut script = VecDeque::from(script);
        let mut asked = Vec::new();
        let _ = writing.write_all(greeting.as_bytes()).await;
        let mut lines = BufReader::new(reading).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            let command: Value = serde_json::from_str(&line).unwrap();
            asked.push(command["execute"].as_str().unwrap().to_owned());
            let Some(answer) = script.pop_front() else {
                break;
            };
            let answer = answer.replace("{ID}", command["id"].as_str().unwrap());
            if writing.write_all(answer.as_bytes()).await.is_err() {
                break;
            }
        }
        asked
    });
    Monitor {
        _dir: dir,
        socket,
        asked,
    }
}

fn answer(body: &Value) -> String {
    let mut line = body.clone();
    line["id"] = json!("{ID}");
    format!("{line}\r\n")
}

/// The answers of a recording, in the order in which this program asks. `which` are their positions in the recording.
fn recorded(text: &str, which: [Option<usize>; 6]) -> Vec<String> {
    let recording: Value = serde_json::from_str(text).unwrap();
    let list = recording.as_object().unwrap().values().next().unwrap();
    let empty = json!({"error": {"class": "GenericError", "desc": "not recorded"}});
    let answers = which.map(|position| answer(position.map_or(&empty, |n| &list[n])));
    [answer(&json!({"return": {}}))]
        .into_iter()
        .chain(answers)
        .collect()
}

fn recorded_101() -> Vec<String> {
    let text = include_str!("../../../tests/data/recordings/qmp-balloon-and-guest-stats.json");
    recorded(text, [Some(0), Some(2), Some(1), Some(3), Some(6), Some(5)])
}

fn greeting() -> String {
    format!("{GREETING}\r\n")
}

#[tokio::test]
async fn a_recorded_guest_tells_everything() {
    let monitor = monitor(&greeting(), recorded_101());
    let answers = ask(&monitor.socket, LONG).await.unwrap();
    assert_eq!(answers.version.unwrap().to_string(), "10.2.2");
    let status = answers.status.unwrap();
    assert!(status.running);
    assert_eq!(status.word, "running");
    assert_eq!(
        answers.vcpus.unwrap(),
        [Vcpu {
            index: 0,
            thread_id: 23675
        }]
    );
    let balloon = answers.balloon.unwrap().unwrap();
    assert_eq!(
        (balloon.actual, balloon.max_mem),
        (Mib(2048), Some(Mib(2048)))
    );
    let memory = answers.memory.unwrap();
    assert_eq!(
        (memory.base, memory.plugged, memory.total()),
        (Mib(1024), Mib(1024), Mib(2048))
    );
    let dimms = answers.dimms.unwrap();
    assert_eq!(dimms.len(), 2);
    assert_eq!((dimms[1].id.as_str(), dimms[1].size), ("dimm1", Mib(512)));

    let stats = answers.guest_stats.unwrap().unwrap();
    assert_eq!(
        stats.last_update,
        Some(Moment::from_millis(1_795_502_939_000))
    );
    assert_eq!(stats.total, Some(Mib(1931)));
    assert_eq!(stats.available, Some(Mib(1788)));
    assert_eq!((stats.swap_in, stats.major_faults), (Some(0), Some(0)));
    // All ones: this guest's kernel does not report them. Unknown, not a number.
    assert_eq!(
        (stats.oom_kills, stats.alloc_stalls, stats.direct_reclaims),
        (None, None, None)
    );

    // The monitor is given back: the server saw the end of the connection after exactly these.
    let asked = monitor.asked.await.unwrap();
    assert_eq!(asked.len(), 7);
    assert_eq!(asked[0], "qmp_capabilities");
}

#[tokio::test]
async fn a_recorded_vm_without_balloon_device_is_an_answer_and_no_error() {
    let text = include_str!("../../../tests/data/recordings/qmp-no-balloon-device.json");
    let script = recorded(text, [None, Some(1), Some(0), Some(2), None, Some(3)]);
    let monitor = monitor(&greeting(), script);
    let answers = ask(&monitor.socket, LONG).await.unwrap();
    assert_eq!(answers.balloon, Ok(None));
    assert_eq!(answers.guest_stats, Ok(None));
    assert_eq!(answers.vcpus.unwrap().len(), 2);
    assert_eq!(answers.dimms, Ok(Vec::new()));
    // One failing command voids no other.
    assert_eq!(answers.status, Err("not recorded".to_owned()));
}

#[tokio::test]
async fn a_guest_that_never_told_has_no_moment() {
    let mut script = recorded_101();
    let never = json!({"return": {"stats": {"stat-total-memory": u64::MAX}, "last-update": 0}});
    script[2] = answer(&never);
    let monitor = monitor(&greeting(), script);
    let stats = ask(&monitor.socket, LONG)
        .await
        .unwrap()
        .guest_stats
        .unwrap()
        .unwrap();
    assert_eq!(
        (stats.last_update, stats.total, stats.available),
        (None, None, None)
    );
}

#[tokio::test]
async fn events_in_between_are_passed_over() {
    let mut script = recorded_101();
    for line in &mut script {
        line.insert_str(
            0,
            "{\"event\": \"RESUME\", \"timestamp\": {\"seconds\": 1}}\r\n",
        );
    }
    let monitor = monitor(&greeting(), script);
    let answers = ask(&monitor.socket, LONG).await.unwrap();
    assert!(answers.status.is_ok() && answers.dimms.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_monitor_that_serves_another_client_is_busy() {
    // Recorded in qmp-two-clients.txt: the connection succeeds, the greeting does not come.
    let monitor = monitor("", Vec::new());
    let error = ask(&monitor.socket, BORROW).await.unwrap_err();
    assert!(matches!(error, QmpError::Busy { .. }), "{error}");
    assert!(error.to_string().contains("200 ms"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_qemu_that_hangs_half_way_keeps_nobody_waiting_and_what_it_said_counts() {
    let mut script = recorded_101();
    script[3] = String::new();
    script.truncate(4);
    let monitor = monitor(&greeting(), script);
    let answers = ask(&monitor.socket, BORROW).await.unwrap();
    assert!(answers.status.is_ok() && answers.guest_stats.is_ok());
    assert_eq!(answers.balloon, Err("no answer in time".to_owned()));
    assert_eq!(answers.vcpus, Err("no answer in time".to_owned()));
    assert_eq!(monitor.asked.await.unwrap().len(), 4);
}

#[tokio::test]
async fn a_qemu_that_goes_away_half_way_leaves_its_first_answers() {
    let mut script = recorded_101();
    script.truncate(2);
    let monitor = monitor(&greeting(), script);
    let answers = ask(&monitor.socket, LONG).await.unwrap();
    assert!(answers.status.is_ok());
    assert!(answers.guest_stats.is_err() && answers.dimms.is_err());
}

#[tokio::test]
async fn nobody_behind_the_socket_is_unreachable() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("101.qmp");
    let missing = ask(&socket, LONG).await.unwrap_err();
    assert!(matches!(missing, QmpError::Unreachable { .. }), "{missing}");
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    let refused = ask(&socket, LONG).await.unwrap_err();
    assert!(matches!(refused, QmpError::Unreachable { .. }), "{refused}");
    assert!(refused.to_string().contains("101.qmp"), "{refused}");
}

#[tokio::test]
async fn hostile_talk_is_an_error_and_nothing_worse() {
    let endless = "x".repeat(2 << 20);
    let deep = format!("{}\n", "[".repeat(100_000));
    let hostile = [
        "{}\n",
        "nonsense\n",
        "\u{1b}[2J\n",
        "{\"QMP\": 1",
        "",
        &endless,
        &deep,
    ];
    for greeting in hostile {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("101.qmp");
        let listener = UnixListener::bind(&socket).unwrap();
        let serve = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            // The client may have hung up before it has heard all.
            let _ = stream.write_all(greeting.as_bytes()).await;
        };
        let (result, ()) = tokio::join!(ask(&socket, LONG), serve);
        let error = result.unwrap_err();
        assert!(matches!(error, QmpError::Protocol { .. }), "{error}");
        assert!(!error.to_string().contains(char::is_control), "{error}");
    }
}

#[tokio::test]
async fn answers_of_the_wrong_shape_are_errors_each_for_itself() {
    let mut script = recorded_101();
    script[1] = answer(&json!({"return": {"status": 7, "running": "yes"}}));
    script[2] = answer(&json!({"return": {"stats": {"stat-total-memory": -1}, "last-update": 1}}));
    script[4] = answer(&json!({"return": [{"cpu-index": 0}]}));
    script[6] = answer(&json!({"return": [{"type": "dimm"}, {"type": "virtio-mem", "data": {}}]}));
    let monitor = monitor(&greeting(), script);
    let answers = ask(&monitor.socket, LONG).await.unwrap();
    assert!(answers.status.is_err() && answers.guest_stats.is_err());
    assert!(answers.vcpus.is_err() && answers.dimms.is_err());
    assert!(answers.balloon.is_ok() && answers.memory.is_ok());
}

#[tokio::test]
async fn an_answer_to_another_question_ends_the_visit() {
    let mut script = recorded_101();
    script[2] = "{\"return\": {}, \"id\": \"pve\"}\n".to_owned();
    let monitor = monitor(&greeting(), script);
    let answers = ask(&monitor.socket, LONG).await.unwrap();
    assert!(answers.status.is_ok() && answers.guest_stats.is_err() && answers.balloon.is_err());
}
