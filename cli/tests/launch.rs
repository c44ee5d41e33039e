//! `lore run --launcher slurm` against programs that stand for Slurm's: what is submitted, what happens when jobs are lost,
//! and that the result is that of a run here. scripts/slurm-check does the same with a real Slurm.

#![allow(clippy::unwrap_used)]
#![cfg(unix)]

mod workbench;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;
use workbench::tiny_recipe::{RECIPE, tiny_run};
use workbench::{Answer, Workbench, text};

/// Runs each script as it is submitted, the elements of an array side by side, unless `lose` names its job: that one fails to
/// be launched the first time, and is held in the queue until it is cancelled. What it was given is in `calls`. The first call
/// of all finds no controller if there is a file `away`.
const SBATCH: &str = r##"#!/bin/bash
if rm "$FAKE/away" 2>/dev/null; then
  echo "sbatch: error: Batch job submission failed: Unable to contact slurm controller (connect failure)" >&2
  exit 1
fi
for script; do :; done
echo "$(basename "$script") ${@:1:$#-1}" >> "$FAKE/calls"
number=$(($(wc -l < "$FAKE/calls") + 100))
if [ "$(cat "$FAKE/lose" 2>/dev/null)" = "$(basename "$script" .sh)" ]; then
  rm "$FAKE/lose"
  printf '%s|PENDING|launch failed requeued held|modules\n' ${number}_0 ${number}_1 > "$FAKE/held"
  echo $number
  exit
fi
export SLURM_JOB_ID=$number
last=$(sed -n 's/^#SBATCH --array=0-//p' "$script")
if [ -n "$last" ]; then
  export SLURM_ARRAY_JOB_ID=$number
  for SLURM_ARRAY_TASK_ID in $(seq 0 "$last"); do
    export SLURM_ARRAY_TASK_ID
    bash "$script" >> "$FAKE/log" 2>&1 &
  done
  wait
else
  bash "$script" >> "$FAKE/log" 2>&1
fi
echo $number
"##;

const SQUEUE: &str = "#!/bin/sh\n[ ! -f \"$FAKE/held\" ] || cat \"$FAKE/held\"\n";

const SCANCEL: &str = "#!/bin/sh\necho \"$@\" >> \"$FAKE/cancelled\"\nrm -f \"$FAKE/held\"\n";

fn with_slurm(bench: &Workbench, arguments: &[&str]) -> Command {
    for (name, text) in [("sbatch", SBATCH), ("squeue", SQUEUE), ("scancel", SCANCEL)] {
        let path = bench.write(&format!("bin/{name}"), text);
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let mut command = bench.command(arguments);
    let path = std::env::var("PATH").unwrap();
    command.env("PATH", format!("{}:{path}", bench.path("bin").display())).env("FAKE", bench.path("."));
    command
}

fn calls(bench: &Workbench) -> Vec<String> {
    let text = String::from_utf8(bench.read("calls")).unwrap();
    text.lines().map(|line| line.split(' ').next().unwrap().to_owned()).collect()
}

#[test]
fn a_run_through_slurm_is_the_run_here_and_lost_jobs_are_submitted_again() {
    let bench = tiny_run();
    // What the teacher says is captured before, side by side like the rows of the evaluation.
    bench.write("recipe.toml", RECIPE.replace("[base.train]", "[base.distil]\nteacher = \"cached\"\n\n[base.train]"));
    bench.succeeds(&["run", "recipe.toml", "--runs-dir", "here", "--threads", "1"]);
    bench.write("away", "");
    bench.write("lose", "modules");
    let launch = ["run", "recipe.toml", "--runs-dir", "there", "--threads", "1", "--launcher", "slurm"];
    let answer = Answer::of(with_slurm(&bench, &launch).output().unwrap());
    let log = String::from_utf8_lossy(&bench.read("log")).into_owned();
    assert_eq!(answer.code, 0, "{}\n{log}", answer.stderr);
    let jobs =
        ["prepare", "general", "targets-parts", "targets", "base", "modules", "evaluate-parts", "evaluate", "report"];
    let jobs = jobs.map(|job| format!("{job}.sh"));
    assert_eq!(calls(&bench), [&jobs[..], &jobs[5..]].concat(), "{log}");
    // Each part once, and nothing of them again: six rows, one or two in each.
    for part in 1..=4 {
        let evaluated = format!("evaluate, part {part}/4");
        assert!(log.matches(&format!("] {evaluated}")).count() == 1, "{log}");
    }
    let ended = |task: &&str| !task.split('(').next().unwrap().contains(" of ");
    assert_eq!(log.split("score: ").skip(1).filter(ended).count(), 6, "{log}");
    assert!(log.contains("needs what is not finished: module:rivers, module:hills"), "{log}");
    assert_eq!(String::from_utf8(bench.read("cancelled")).unwrap(), "106_0 106_1\n", "{}", answer.stderr);
    assert!(answer.stderr.contains("could not start 106_0, 106_1"), "{}", answer.stderr);
    assert!(answer.stderr.contains("the controller does not answer; waiting for it"), "{}", answer.stderr);
    for file in [
        "base/model.safetensors",
        "modules/rivers/adapter_model.safetensors",
        "modules/hills/adapter_model.safetensors",
    ] {
        assert_eq!(bench.read(&format!("here/tiny/{file}")), bench.read(&format!("there/tiny/{file}")), "{file}");
    }
    let in_stage = |runs: &str, stage: &str, file: &str| {
        let folder = bench.listing(&format!("{runs}/tiny/stages")).into_iter().find(|name| name.starts_with(stage));
        bench.read(&format!("{runs}/tiny/stages/{}/{file}", folder.unwrap()))
    };
    for file in ["targets.bin", "targets.jsonl"] {
        assert_eq!(in_stage("here", "targets-", file), in_stage("there", "targets-", file), "{file}");
    }
    let cells = |runs: &str| {
        let evaluation: Value = serde_json::from_slice(&in_stage(runs, "evaluate-", "evaluation.json")).unwrap();
        let rows = evaluation["matrix"]["rows"].as_array().unwrap();
        let mut rows: Vec<Value> = rows.clone();
        rows.iter_mut().for_each(|row| row["tokens_per_second"] = Value::Null);
        (rows, evaluation["samples"].clone(), evaluation["routing"].clone())
    };
    assert_eq!(cells("here"), cells("there"));
    assert_eq!(bench.listing("there/tiny/stages"), bench.listing("here/tiny/stages"));
    assert!(answer.stdout.contains("Report: there/tiny/report.html"), "{}", answer.stdout);

    // Everything is finished: nothing is submitted.
    let again = Answer::of(with_slurm(&bench, &launch).output().unwrap());
    assert_eq!((again.code, calls(&bench).len()), (0, 13), "{}", again.stderr);
}

#[test]
fn jobs_can_be_looked_at_and_a_machine_without_slurm_says_so() {
    let bench = tiny_run();
    let print = [
        "run",
        "recipe.toml",
        "--launcher",
        "slurm",
        "--partition",
        "short",
        "--gres",
        "gpu:1",
        "--sbatch=--account=me",
        "--parts",
        "3",
        "--print",
    ];
    let printed = bench.succeeds(&print).stdout;
    for line in [
        "#SBATCH --array=0-1",
        "#SBATCH --partition=short",
        "#SBATCH --gres=gpu:1",
        "#SBATCH --account=me",
        "stages=('module:rivers' 'module:hills')",
        "#SBATCH --requeue",
        "# evaluate-parts: evaluate",
        "--share $((SLURM_ARRAY_TASK_ID + 1))/3 &",
    ] {
        assert!(printed.contains(line), "`{line}` is not in {printed}");
    }
    assert!(!bench.path("runs").exists());
    // Slurm ends a word at a space, and fills in what follows `%`.
    let odd =
        bench.succeeds(&["run", "recipe.toml", "--launcher", "slurm", "--print", "--runs-dir", "my 2% runs"]).stdout;
    assert!(odd.contains("/my 2%% runs/tiny/slurm/modules-%A_%a.log\"\n"), "{odd}");
    assert!(odd.contains("#SBATCH --output=\"/"), "{odd}");
    let mut absent = bench.command(&["run", "recipe.toml", "--launcher", "slurm"]);
    absent.env("PATH", bench.path("nothing"));
    Answer::of(absent.output().unwrap()).is_clear_failure(1, &["has no Slurm", "--print", "scripts/slurm-local"]);
}

#[test]
fn a_job_at_its_time_limit_keeps_a_checkpoint_and_queues_itself_again() {
    let bench = tiny_run();
    // No checkpoint but that of the signal.
    let recipe = RECIPE.replace("checkpoint_every = 3", "checkpoint_every = 1000");
    let recipe = recipe.replace("[modules.train]\nsteps = 60", "[modules.train]\nsteps = 300");
    bench.write("recipe.toml", recipe);
    for stage in ["topic:rivers", "base"] {
        bench.succeeds(&["run", "recipe.toml", "--until", stage]);
    }
    let copied = Command::new("cp").args(["-a", text(&bench.path("runs")), text(&bench.path("straight"))]).status();
    assert!(copied.unwrap().success());
    let module = ["run", "recipe.toml", "--threads", "1", "--only", "module:rivers", "--runs-dir", "straight"];
    bench.succeeds(&module);

    let printed = bench.succeeds(&["run", "recipe.toml", "--threads", "1", "--launcher", "slurm", "--print"]).stdout;
    let (_, script) = printed.split_once("# modules: module:rivers, module:hills\n").unwrap();
    bench.write("modules.sh", &script[..script.find("\ndone\n").unwrap() + 6]);
    let scontrol = bench.write("bin/scontrol", "#!/bin/sh\necho \"$@\" >> \"$FAKE/requeued\"\n");
    fs::set_permissions(scontrol, fs::Permissions::from_mode(0o755)).unwrap();
    let element = || {
        let mut command = Command::new("bash");
        bench.prepare(&mut command);
        let path = format!("{}:{}", bench.path("bin").display(), std::env::var("PATH").unwrap());
        command.arg("modules.sh").env("PATH", path).env("FAKE", bench.path("."));
        command.envs([("SLURM_JOB_ID", "7"), ("SLURM_ARRAY_JOB_ID", "7"), ("SLURM_ARRAY_TASK_ID", "0")]);
        command.stdout(Stdio::null()).stderr(fs::File::create(bench.path("log")).unwrap());
        command
    };
    let partial = || {
        let stages = bench.listing("runs/tiny/stages");
        let found = stages.into_iter().find(|name| name.starts_with("module-rivers-") && name.ends_with(".partial"));
        found.map(|name| format!("runs/tiny/stages/{name}"))
    };
    let steps = || {
        let figures = partial().and_then(|folder| fs::read(bench.path(&folder).join("metrics.jsonl")).ok());
        figures.map_or(0, |text| text.iter().filter(|&&byte| byte == b'\n').count())
    };
    let mut job = element().spawn().unwrap();
    let start = Instant::now();
    while steps() < 3 {
        assert!(job.try_wait().unwrap().is_none(), "the job ended before its signal");
        assert!(start.elapsed() < Duration::from_secs(120), "it makes no steps");
        sleep(Duration::from_millis(1));
    }
    assert!(Command::new("kill").args(["-USR1", &job.id().to_string()]).status().unwrap().success());
    assert!(job.wait().unwrap().success());
    let log = || String::from_utf8(bench.read("log")).unwrap();
    assert!(log().contains("stopped after step"), "{}", log());
    assert_eq!(bench.read("requeued"), b"requeue 7_0\n");
    let kept = format!("checkpoint-{:08}", steps());
    let listed = bench.listing(&partial().unwrap());
    assert!(listed.contains(&kept), "{kept} is not among {listed:?}");

    assert!(element().status().unwrap().success());
    assert!(log().contains("going on after step"), "{}", log());
    let file = "tiny/modules/rivers/adapter_model.safetensors";
    assert_eq!(bench.read(&format!("runs/{file}")), bench.read(&format!("straight/{file}")));
}

#[test]
fn one_stage_alone_needs_its_inputs() {
    let bench = tiny_run();
    bench.fails(
        1,
        &["run", "recipe.toml", "--only", "base"],
        &["stage `base` needs what is not finished: teacher, general"],
    );
    bench.fails(2, &["run", "recipe.toml", "--only", "bases"], &["no stage has this name"]);
    for stage in ["fetch:teacher", "teacher", "general"] {
        let answer = bench.succeeds(&["run", "recipe.toml", "--only", stage]);
        assert!(answer.stdout.starts_with(&format!("{stage}: ")), "{}", answer.stdout);
    }
    bench.fails(2, &["run", "recipe.toml", "--only", "general", "--share", "3/2"], &["such as 2/8"]);
    bench.fails(2, &["run", "recipe.toml", "--only", "base", "--share", "1/2"], &["`base` cannot be divided"]);
    // Finished: it is said, and nothing is run.
    let again = bench.succeeds(&["run", "recipe.toml", "--only", "general"]);
    assert!(again.stages().is_empty(), "{}", again.stderr);
}
