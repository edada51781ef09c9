//! The official `vastai` command line against the simulator, unchanged.
//!
//! Set `VASTAI_BIN` to the `vastai` program of a virtual environment with `vastai==1.9.1`. The program exits 0 on
//! most failures, so every check reads its output, and then the simulator's own record.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use vast_sim::{CallRecord, SimConfig};

use crate::bench::{Bench, KEY, config, eventually, output, text};

/// What one run of the program said.
struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Said {
    fn json(&self) -> Value {
        serde_json::from_str(&self.out)
            .unwrap_or_else(|error| panic!("{error}\nstdout: {}\nstderr: {}", self.out, self.err))
    }
}

/// A bench with the program.
struct Cli {
    bench: Bench,
    program: PathBuf,
}

impl Cli {
    /// `None`, loudly, without the program.
    async fn start(test: &str) -> Option<Cli> {
        let Some(program) = std::env::var_os("VASTAI_BIN").map(PathBuf::from) else {
            // Not by a print macro: the harness would hide it.
            let _ = writeln!(
                std::io::stderr(),
                "skipped {test}: set VASTAI_BIN to the `vastai` of vastai==1.9.1"
            );
            return None;
        };
        assert!(program.exists(), "VASTAI_BIN={} does not exist", program.display());
        Some(Cli { bench: Bench::with(SimConfig { credit: 500.0, ..config() }).await, program })
    }

    /// Runs it with a private home; `args` are split at blanks, `last` is one more argument as it is.
    async fn say_with(&self, args: &str, last: &[&str]) -> Said {
        let home = self.bench.folder.path();
        let mut command = Command::new(&self.program);
        command
            .args(args.split_whitespace())
            .args(last)
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("HOME", home)
            .env("XDG_CONFIG_HOME", home.join("config"))
            .env("XDG_CACHE_HOME", home.join("cache"))
            .env("VAST_URL", self.bench.sim.url())
            .env("VAST_API_KEY", KEY)
            .env("VASTAI_NO_UPDATE_CHECK", "1")
            .env("COLUMNS", "300")
            .env("CI", "1")
            .stdin(Stdio::null());
        let done = output(command).await;
        let said = Said { code: done.status.code(), out: text(&done.stdout), err: text(&done.stderr) };
        assert!(!said.err.contains("Traceback"), "vastai {args}: {}", said.err);
        said
    }

    async fn say(&self, args: &str) -> Said {
        self.say_with(args, &[]).await
    }

    /// Runs it, expecting no complaint.
    async fn ok(&self, args: &str) -> Said {
        let said = self.say(args).await;
        assert_eq!(
            (said.code, said.err.contains("Failed")),
            (Some(0), false),
            "vastai {args}: {}{}",
            said.out,
            said.err
        );
        said
    }

    fn last_call(&self, endpoint: &str) -> CallRecord {
        let calls = self.bench.sim.calls();
        calls
            .into_iter()
            .rfind(|call| call.endpoint == endpoint)
            .unwrap_or_else(|| panic!("no call to {endpoint}"))
    }

    async fn create(&self, label: &str) -> u64 {
        let offer = self.bench.offers(1).await[0];
        let args = format!(
            "create instance {offer} --image vastai/base --disk 12 --ssh --direct --label {label} --raw"
        );
        let started = self
            .say_with(
                &args,
                &["--env", "-e APP=duel -p 5555:5555", "--onstart-cmd", "echo hello from onstart"],
            )
            .await;
        let id = started.json()["new_contract"].as_u64().expect("an id");
        self.bench.up(id).await;
        id
    }

    fn statuses(&self, id: u64) -> Option<String> {
        self.bench.info(id).actual_status
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn search_offers() {
    let Some(cli) = Cli::start("search_offers").await else { return };
    let found = cli
        .say_with(
            "search offers -o dph_total --limit 7 --storage 40 --raw",
            &["num_gpus=1 gpu_name=RTX_4090 reliability>0.9 duration>1"],
        )
        .await;
    let offers = found.json();
    let offers = offers.as_array().expect("a list");
    assert!(!offers.is_empty() && offers.len() <= 7);
    assert!(offers.iter().all(|offer| offer["gpu_name"] == "RTX 4090" && offer["num_gpus"] == 1));
    let prices: Vec<f64> = offers.iter().filter_map(|offer| offer["dph_total"].as_f64()).collect();
    assert!(prices.is_sorted(), "{prices:?}");
    let storage = offers[0]["storage_total_cost"].as_f64().expect("a price");
    let expected = offers[0]["storage_cost"].as_f64().expect("a price") * 40.0 / 720.0;
    assert!((storage - expected).abs() < 1e-9);

    let new = cli
        .say_with("search offers --new --limit 5 --raw", &["num_gpus>=2 geolocation in [US,CA]"])
        .await
        .json();
    let new = new.as_array().expect("a list");
    assert!(!new.is_empty() && new.len() <= 5, "{}", new.len());
    let place = |offer: &Value| {
        offer["geolocation"].as_str().is_some_and(|at| at.ends_with("US") || at.ends_with("CA"))
    };
    assert!(new.iter().all(place));
    assert_eq!(cli.last_call("search_asks").status, Some(200));

    let unverified =
        cli.say_with("search offers --raw", &["verified=false driver_version>=535.86.05"]).await.json();
    assert!(
        unverified
            .as_array()
            .is_some_and(|all| !all.is_empty() && all.iter().all(|it| it["verification"] != "verified"))
    );
    let table = cli.ok("search offers --limit 3").await;
    assert!(table.out.contains("Model") && table.out.lines().count() >= 4, "{}", table.out);
    let bids = cli.say_with("search offers --interruptible --limit 3 --raw", &["num_gpus=1"]).await.json();
    assert!(bids.as_array().is_some_and(|all| all.len() == 3 && all.iter().all(|it| it["is_bid"] == true)));
}

#[tokio::test(flavor = "multi_thread")]
async fn create_show_and_destroy() {
    let Some(cli) = Cli::start("create_show_and_destroy").await else { return };
    cli.say_with("create ssh-key", &[&cli.bench.public_key()]).await;
    let id = cli.create("keeper-a").await;
    let create = cli.last_call("create");
    assert_eq!(
        (&create.body["runtype"], &create.body["label"]),
        (&json!("ssh_direc ssh_proxy"), &json!("keeper-a"))
    );

    let raw = cli.ok("show instances --raw").await.json();
    assert_eq!((raw[0]["id"].as_u64(), raw[0]["label"].as_str()), (Some(id), Some("keeper-a")));
    let table = cli.ok("show instances").await.out;
    assert!(
        table.contains(&id.to_string()) && table.contains("keeper-a") && table.contains("running"),
        "{table}"
    );
    assert_eq!(cli.ok("show instances -q").await.out.trim(), id.to_string());
    let single = cli.ok(&format!("show instance {id} --raw")).await.json();
    assert_eq!(single["actual_status"], "running");
    assert!(cli.ok(&format!("show instance {id}")).await.out.contains("running"));
    assert_eq!(cli.say("show instance 999").await.code, Some(1), "an unknown instance");

    let ssh = cli.bench.info(id).ssh.expect("ssh");
    assert_eq!(
        cli.ok(&format!("ssh-url {id}")).await.out.trim(),
        format!("ssh://root@{}:{}", ssh.ip(), ssh.port())
    );
    assert_eq!(
        cli.ok(&format!("scp-url {id}")).await.out.trim(),
        format!("scp://root@{}:{}", ssh.ip(), ssh.port())
    );
    assert!(cli.bench.run(id, "true").await.status.success(), "the account's key is on the box");

    let unasked = cli.say(&format!("destroy instance {id}")).await;
    assert!(unasked.out.contains("Abort") || unasked.err.contains("Abort"), "{}{}", unasked.out, unasked.err);
    assert_eq!(cli.bench.sim.ledger().live().count(), 1, "no consent, no call");
    let destroyed = cli.ok(&format!("destroy instance {id} -y")).await;
    assert!(destroyed.out.contains(&format!("destroying instance {id}")), "{}", destroyed.out);
    let again = cli.say(&format!("destroy instance {id} -y")).await;
    assert!(again.err.contains("404"), "{}", again.err);

    let others = [cli.create("b").await, cli.create("c").await];
    cli.ok(&format!("destroy instances {} {} -y", others[0], others[1])).await;
    assert_eq!(cli.last_call("destroy_bulk").body, json!({"instance_ids": others}));
    assert_eq!(cli.bench.sim.ledger().live().count(), 0);
    assert_eq!(cli.bench.sim.ledger().rentals.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn create_in_bulk_and_launch() {
    let Some(cli) = Cli::start("create_in_bulk_and_launch").await else { return };
    let offers = cli.bench.offers(2).await;
    cli.ok(&format!(
        "create instances {} {} --image vastai/base --disk 10 --ssh --label bulk",
        offers[0], offers[1]
    ))
    .await;
    assert_eq!(cli.bench.sim.ledger().live().count(), 2);
    let gpu = cli.bench.get("/api/v0/gpu_names/unique/").await["gpu_names"][0]
        .as_str()
        .expect("a name")
        .replace(' ', "_");
    cli.ok(&format!("launch instance -g {gpu} -n 1 -i vastai/base -d 10 --ssh --direct --label launched"))
        .await;
    let launched = cli.last_call("launch");
    assert_eq!((launched.status, launched.instances.len()), (Some(200), 1), "{}", launched.reply);
    assert_eq!(cli.bench.sim.ledger().live().count(), 3);
    let taken = cli.say(&format!("create instance {} --image vastai/base", offers[0])).await;
    assert!(taken.err.contains("no_such_ask"), "{}{}", taken.out, taken.err);
    let args = cli
        .say_with(
            &format!(
                "create instance {} --image vastai/base --disk 10 --onstart-cmd /bin/sh --label args",
                cli.bench.offers(1).await[0]
            ),
            &["--args", "-c", "echo entry; sleep 100"],
        )
        .await;
    assert!(args.out.contains("Started"), "{}{}", args.out, args.err);
    assert_eq!(cli.last_call("create").body["runtype"], "args");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_list_is_paged_filtered_and_shown() {
    let Some(cli) = Cli::start("the_list_is_paged_filtered_and_shown").await else { return };
    for (number, offer) in cli.bench.offers(30).await.into_iter().enumerate() {
        let body = cli.bench.launch(if number % 3 == 0 { "third" } else { "other" }, "");
        assert_eq!(cli.bench.put(&format!("/api/v0/asks/{offer}/"), body).await["success"], true);
    }
    eventually("all run", || async {
        cli.bench.sim.boxes().iter().all(|it| it.actual_status.as_deref() == Some("running")).then_some(())
    })
    .await;
    assert_eq!(cli.ok("show instances --raw").await.json().as_array().map(Vec::len), Some(30), "two pages");
    assert_eq!(cli.ok("show instances -q").await.out.split_whitespace().count(), 30);
    assert!(cli.ok("show instances").await.out.matches("third").count() >= 10);
    let thirds = cli.ok("show instances --label third --status running --limit 100 --raw").await.json();
    assert_eq!(
        (thirds["instances"].as_array().map(Vec::len), thirds["total_instances"].as_u64()),
        (Some(10), Some(30))
    );
    let page = cli.ok("show instances --limit 4 --raw").await.json();
    let token = page["next_token"].as_str().expect("more").to_owned();
    let next = cli.ok(&format!("show instances --limit 4 --next-token {token} --raw")).await.json();
    assert_ne!(next["instances"][0]["id"], page["instances"][0]["id"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn state_restart_label_bid_update_and_logs() {
    let Some(cli) = Cli::start("state_restart_label_bid_update_and_logs").await else { return };
    let id = cli.create("keeper-a").await;
    let logs = eventually("onstart's words", || async {
        let logs = cli.ok(&format!("logs {id} --tail 50")).await.out;
        logs.contains("hello from onstart").then_some(logs)
    })
    .await;
    assert!(!logs.contains("created"));
    assert!(
        !cli.ok(&format!("logs {id} --filter nothing-says-this")).await.out.contains("hello from onstart")
    );
    assert!(cli.ok(&format!("logs {id} --daemon-logs")).await.out.contains("Running"));

    assert!(cli.ok(&format!("stop instance {id}")).await.out.contains("stopping instance"));
    assert_eq!(cli.bench.row(id).await["intended_status"], "stopped");
    cli.ok(&format!("start instance {id}")).await;
    cli.bench.up(id).await;
    let other = cli.create("keeper-b").await;
    cli.ok(&format!("stop instances {id} {other}")).await;
    assert!([id, other].iter().all(|it| cli.statuses(*it).as_deref() == Some("exited")));
    cli.ok(&format!("start instances {id} {other}")).await;
    cli.bench.up(id).await;
    cli.bench.up(other).await;
    for verb in ["reboot", "recycle"] {
        cli.ok(&format!("{verb} instance {id}")).await;
        assert_eq!(cli.last_call(verb).status, Some(200));
        cli.bench.up(id).await;
    }
    cli.ok(&format!("label instance {id} renamed")).await;
    assert_eq!(cli.bench.info(id).label.as_deref(), Some("renamed"));
    cli.ok(&format!("change bid {id} --price 0.9")).await;
    assert_eq!(
        (cli.bench.row(id).await["is_bid"].as_bool(), cli.bench.row(id).await["dph_base"].as_f64()),
        (Some(true), Some(0.9))
    );
    cli.say_with(
        &format!("update instance {id} --image vastai/other"),
        &["--env", "{\"APP\":\"new\",\"-p 5555:5555\":\"1\"}", "--onstart", "echo $APP > app"],
    )
    .await;
    let row = cli.bench.up(id).await;
    assert_eq!(row["image_uuid"], "vastai/other");
    let app = cli.bench.info(id).home.expect("a home").join("app");
    eventually("the new onstart ran", || async {
        (std::fs::read_to_string(&app).ok()? == "new\n").then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_user_prepay_and_reports() {
    let Some(cli) = Cli::start("keys_user_prepay_and_reports").await else { return };
    let key = cli.bench.public_key();
    cli.say_with("create ssh-key", &[&key]).await;
    let listed = cli.ok("show ssh-keys --raw").await.json();
    let account_key = listed[0]["id"].as_u64().expect("an id");
    cli.ok(&format!("delete ssh-key {account_key}")).await;
    let id = cli.create("keeper-a").await;
    assert!(!cli.bench.run(id, "true").await.status.success(), "no key yet");
    cli.say_with(&format!("attach ssh {id}"), &[&key]).await;
    eventually("the key opens the box", || async {
        cli.bench.run(id, "true").await.status.success().then_some(())
    })
    .await;
    let attached = cli.bench.get(&format!("/api/v0/instances/{id}/ssh/")).await;
    let attached: Value = serde_json::from_str(attached["ssh_keys"].as_str().expect("text")).expect("JSON");
    cli.ok(&format!("detach ssh {id} {}", attached[0]["id"])).await;
    eventually("the key is gone", || async {
        (!cli.bench.run(id, "true").await.status.success()).then_some(())
    })
    .await;

    let user = cli.ok("show user --raw").await.json();
    assert!(user["credit"].as_f64().is_some_and(|credit| credit > 400.0), "{user}");
    assert!(cli.ok("show user").await.out.contains("sim@example.com"));
    let prepaid = cli.ok(&format!("prepay instance {id} 50")).await;
    assert!(prepaid.out.contains("discount"), "{}", prepaid.out);
    assert!(cli.bench.row(id).await["credit_discount"].as_f64().is_some_and(|discount| discount > 0.0));
    assert!(cli.bench.sim.ledger().credit < 450.1);
    let machine = cli.bench.info(id).machine;
    let report = json!({"problem": "dead", "message": "it does not boot"});
    assert_eq!(cli.bench.put(&format!("/api/v0/machines/{machine}/report"), report).await["success"], true);
    assert!(cli.ok(&format!("reports {machine}")).await.out.contains("it does not boot"));
    cli.ok(&format!("show deposit {id}")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_look_to_the_program_as_they_do_live() {
    let Some(cli) = Cli::start("faults_look_to_the_program_as_they_do_live").await else { return };
    cli.ok("show user --raw").await;
    cli.bench
        .sim
        .inject(vast_sim::Fault::once(vast_sim::FaultKind::AuthError).on_endpoint("list"))
        .expect("a rule");
    let refused = cli.say("show instances --raw").await;
    assert_eq!(refused.code, Some(0), "it exits 0 on every HTTP error");
    assert!(
        refused.err.contains("Invalid user key") && refused.err.contains("404"),
        "{}{}",
        refused.out,
        refused.err
    );
    // The program sends a create again on 502: the first took the offer, the second finds it gone.
    cli.bench.sim.inject(vast_sim::Fault::lost_create_reply(vast_sim::ApiBreak::Html502)).expect("a rule");
    let offer = cli.bench.offers(1).await[0];
    let lost = cli.say(&format!("create instance {offer} --image vastai/base --raw")).await;
    assert!(lost.err.contains("no_such_ask") || lost.out.contains("no_such_ask"), "{}{}", lost.out, lost.err);
    assert_eq!(cli.bench.sim.ledger().live().count(), 1, "a box that the caller does not know");
}
