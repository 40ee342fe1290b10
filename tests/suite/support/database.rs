//! PostgreSQL databases of a test's own, and what can happen to them.

use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use slipway::shutdown::Tasks;
use sqlx::Connection as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::broadcast;
use ulid::Ulid;

use super::aws::required;

/// The database that every new one in the tests' cluster is a copy of: its schema is up to date.
const TEMPLATE: &str = "slipway_template";

/// A new database in the cluster that the tests are given. Its schema is up to date already.
pub async fn new_database() -> String {
    static MADE: tokio::sync::OnceCell<()> = tokio::sync::OnceCell::const_new();
    let cluster = required("SLIPWAY_TEST_POSTGRES");
    MADE.get_or_init(|| make_template(&cluster)).await;
    create(&cluster, &new_name(), TEMPLATE).await
}

/// A new database without a schema.
pub async fn empty_database() -> String {
    create(&required("SLIPWAY_TEST_POSTGRES"), &new_name(), "template1").await
}

async fn make_template(cluster: &str) {
    sqlx::any::install_default_drivers();
    let mut db = sqlx::AnyConnection::connect(cluster).await.unwrap();
    // Of an earlier run of tests in this cluster.
    sqlx::raw_sql(sqlx::AssertSqlSafe(format!(
        "DROP DATABASE IF EXISTS {TEMPLATE}"
    )))
    .execute(&mut db)
    .await
    .unwrap();
    db.close().await.unwrap();
    let url = create(cluster, TEMPLATE, "template1").await;
    let mut db = sqlx::AnyConnection::connect(&url).await.unwrap();
    slipway::store::schema::postgres()
        .run(&mut db)
        .await
        .unwrap();
    // A database that somebody is connected to cannot be copied.
    db.close().await.unwrap();
}

fn new_name() -> String {
    format!("slipway_{}", Ulid::generate().to_string().to_lowercase())
}

/// A new database, a copy of another.
async fn create(cluster: &str, name: &str, template: &str) -> String {
    sqlx::any::install_default_drivers();
    let mut db = sqlx::AnyConnection::connect(cluster).await.unwrap();
    let statement = format!("CREATE DATABASE {name} TEMPLATE {template}");
    sqlx::raw_sql(sqlx::AssertSqlSafe(statement))
        .execute(&mut db)
        .await
        .unwrap();
    db.close().await.unwrap();
    format!("{}/{name}", cluster.strip_suffix("/postgres").unwrap())
}

/// A loopback cable to a database, which can be cut.
pub struct Cable {
    /// The database's URL by this cable.
    pub url: String,
    connected: Arc<AtomicBool>,
    cut: broadcast::Sender<()>,
    silence: broadcast::Sender<()>,
    tasks: Tasks,
}

impl Cable {
    pub async fn to(url: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (before, rest) = url.split_once('@').unwrap();
        let (far, path) = rest.split_once('/').unwrap();
        let near = listener.local_addr().unwrap();
        let (connected, cut, tasks) = (
            Arc::new(AtomicBool::new(true)),
            broadcast::channel(1).0,
            Tasks::default(),
        );
        let silence = broadcast::channel(1).0;
        let (far, open, cuts, silences, all) = (
            far.to_owned(),
            connected.clone(),
            cut.clone(),
            silence.clone(),
            tasks.clone(),
        );
        tasks.spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                if !open.load(Ordering::Relaxed) {
                    continue;
                }
                let (far, mut cut, mut silent) =
                    (far.clone(), cuts.subscribe(), silences.subscribe());
                all.spawn(async move {
                    let mut far = TcpStream::connect(far).await.unwrap();
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut near, &mut far) => return,
                        _ = cut.recv() => return,
                        _ = silent.recv() => {}
                    }
                    // Nothing passes any more, and neither end is told.
                    let _ = cut.recv().await;
                });
            }
        });
        Self {
            url: format!("{before}@{near}/{path}"),
            connected,
            cut,
            silence,
            tasks,
        }
    }

    /// Ends every connection; new ones are taken.
    pub fn cut(&self) {
        let _ = self.cut.send(());
    }

    /// Nothing passes any more on any connection that there is, and none of them ends; new ones work.
    pub fn silence(&self) {
        let _ = self.silence.send(());
    }

    /// Ends every connection, and new ones at once too, until it is plugged in again.
    pub fn unplug(&self) {
        self.connected.store(false, Ordering::Relaxed);
        self.cut();
    }

    pub fn plug_in(&self) {
        self.connected.store(true, Ordering::Relaxed);
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        self.tasks.stop();
        self.cut();
    }
}

/// A PostgreSQL cluster of a test's own, to be stopped and started.
pub struct Cluster {
    programs: PathBuf,
    folder: tempfile::TempDir,
    port: u16,
    server: Option<Child>,
}

impl Cluster {
    pub fn start() -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let programs = PathBuf::from(required("SLIPWAY_TEST_POSTGRES_BIN"));
        let mut cluster = Self {
            programs,
            folder: tempfile::tempdir().unwrap(),
            port,
            server: None,
        };
        let (user, group) = owner();
        std::os::unix::fs::chown(cluster.folder.path(), user, group).unwrap();
        let made = cluster
            .program("initdb")
            .args(["-A", "trust", "-U", "postgres", "-E", "UTF8", "--no-sync"])
            .output()
            .unwrap();
        assert!(
            made.status.success(),
            "{}",
            String::from_utf8_lossy(&made.stderr)
        );
        cluster.start_again();
        cluster
    }

    /// One of its programs, as the user that it runs as: PostgreSQL refuses root.
    fn program(&self, name: &str) -> Command {
        let mut command = Command::new(self.programs.join(name));
        command
            .current_dir(self.folder.path())
            .arg("-D")
            .arg(self.folder.path().join("data"))
            .stdin(Stdio::null());
        if let (user @ Some(_), group) = owner() {
            command.uid(user.unwrap()).gid(group.unwrap());
        }
        command
    }

    pub fn start_again(&mut self) {
        let mut server = self.program("postgres");
        server.args([
            "-p",
            &self.port.to_string(),
            "-c",
            "listen_addresses=127.0.0.1",
            "-c",
            "unix_socket_directories=",
        ]);
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.folder.path().join("log"))
            .unwrap();
        self.server = Some(
            server
                .stdout(log.try_clone().unwrap())
                .stderr(log)
                .spawn()
                .unwrap(),
        );
        let until = Instant::now() + Duration::from_secs(60);
        let ready = || {
            let mut asked = Command::new(self.programs.join("pg_isready"));
            asked
                .args(["-q", "-h", "127.0.0.1", "-p", &self.port.to_string()])
                .status()
                .unwrap()
                .success()
        };
        while !ready() {
            assert!(Instant::now() < until, "PostgreSQL does not start");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Its fast shutdown: every connection ends.
    pub fn stop(&mut self) {
        if let Some(mut server) = self.server.take() {
            let sent = Command::new("kill")
                .args(["-s", "INT", &server.id().to_string()])
                .status()
                .unwrap();
            assert!(sent.success());
            server.wait().unwrap();
        }
    }

    /// A new database in it.
    pub async fn database(&self) -> String {
        create(
            &format!("postgres://postgres@127.0.0.1:{}/postgres", self.port),
            &new_name(),
            "template1",
        )
        .await
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The ids of the user `postgres`, when the tests run as root.
fn owner() -> (Option<u32>, Option<u32>) {
    let id = |arguments: &[&str]| -> u32 {
        let output = Command::new("id").args(arguments).output().unwrap();
        String::from_utf8(output.stdout)
            .unwrap()
            .trim()
            .parse()
            .unwrap()
    };
    if id(&["-u"]) == 0 {
        (Some(id(&["-u", "postgres"])), Some(id(&["-g", "postgres"])))
    } else {
        (None, None)
    }
}
