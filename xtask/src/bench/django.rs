//! The reference of G8: a wallet service on Django (`bench/django`), on the bench's PostgreSQL, in two settings.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::Options;
use super::run::{Run, Scenario};
use super::target::Target;
use crate::api::Api;
use crate::process::{self, must_capture, root, target_dir};
use crate::{Outcome, postgres, python};

/// Connections of the client: the better one counts.
pub const CONNECTIONS: [u32; 2] = [16, 64];

const DATABASE: &str = "django";
const START_PATIENCE: Duration = Duration::from_secs(60);
const STOP_PATIENCE: Duration = Duration::from_secs(15);

/// The ids, as the service would have made them: there is no route that opens a wallet.
const OPEN_WALLETS: &str = "INSERT INTO wallet_service_wallet (id, balance, created_at, updated_at) \
    SELECT gen_random_uuid(), 0, now(), now() FROM generate_series(1, {wallets}) RETURNING id";

/// The sum of the balances, the operations, and the wallets whose balance is not the sum of theirs.
const BOOKS: &str = "SELECT (SELECT sum(balance) FROM wallet_service_wallet), \
    (SELECT count(*) FROM wallet_service_walletoperation), \
    (SELECT count(*) FROM wallet_service_wallet w WHERE balance <> \
        (SELECT coalesce(sum(amount), 0) FROM wallet_service_walletoperation o WHERE o.wallet_id = w.id))";

/// How the service is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setting {
    /// gunicorn's own kind of worker and Django's own way with the database: a connection for each request.
    AsShipped,
    /// Kept connections, to the client and to the database. Of the eight combinations of workers and threads that were
    /// tried, two workers of four threads were about level with two of eight and with three plain workers.
    Kept,
}

impl Setting {
    const ALL: [Self; 2] = [Self::AsShipped, Self::Kept];

    const fn gunicorn(self) -> &'static [&'static str] {
        match self {
            Self::AsShipped => &["--workers", "3"],
            Self::Kept => &["--workers", "2", "--worker-class", "gthread", "--threads", "4", "--keep-alive", "75"],
        }
    }

    const fn keep_connections(self) -> &'static str {
        match self {
            Self::AsShipped => "0",
            Self::Kept => "1",
        }
    }
}

/// The service in every setting, on one database. Dropping it ends them.
#[derive(Debug)]
pub struct Reference<'a> {
    database: &'a postgres::Server,
    services: Vec<(Setting, Gunicorn, Target<'a>)>,
}

impl<'a> Reference<'a> {
    /// Installs what is missing, makes the tables, and starts the service with a user and wallets.
    ///
    /// # Errors
    /// One line that says what is missing, or the service's own words.
    pub fn start(options: &'a Options, database: &'a postgres::Server) -> Outcome<Self> {
        let requirements = fs::read_to_string(project().join("requirements.txt"))?;
        let environment = python::environment("django", &requirements)?;
        database.sql("postgres", &format!("CREATE DATABASE {DATABASE}"))?;
        let migrate = ["migrate", "--run-syncdb", "--verbosity", "0"];
        must_capture(in_project(&mut Command::new(environment.join("bin/django-admin")), database).args(migrate))?;
        let ids = database.sql(DATABASE, &OPEN_WALLETS.replace("{wallets}", &options.wallets.to_string()))?;
        let wallets: Vec<String> = ids.lines().map(str::to_owned).collect();
        let mut services = Vec::new();
        let mut token = None;
        for setting in Setting::ALL {
            let gunicorn = Gunicorn::start(&environment.join("bin/gunicorn"), setting, database)?;
            let known = token.take().map_or_else(|| Api::on(gunicorn.port).sign_in(), Ok)?;
            let process = (gunicorn.port, gunicorn.child.id());
            services.push((setting, gunicorn, Target::of_service(options, process, database, &known, &wallets)?));
            token = Some(known);
        }
        Ok(Self { database, services })
    }

    /// One measured run, after which the books must hold what was acknowledged, and nothing else.
    ///
    /// # Errors
    /// A wrong answer under load, or wrong books.
    pub fn run(&self, setting: Setting, connections: u32, round: u32) -> Outcome<Run> {
        let found = self.services.iter().find(|(known, _, _)| *known == setting);
        let (_, gunicorn, target) = found.ok_or("this setting was not started")?;
        let run = target
            .run(Scenario::Django(setting, connections), round)
            .map_err(|error| format!("{error}\ngunicorn said:\n{}", gunicorn.log()))?;
        let acknowledged: u64 = self.services.iter().map(|(_, _, target)| target.acknowledged()).sum();
        let books = self.database.sql(DATABASE, BOOKS)?;
        if books.trim() != format!("{acknowledged}.00|{acknowledged}|0") {
            let books = books.trim();
            return Err(format!("Django acknowledged {acknowledged} deposits of 1, but its books say {books}").into());
        }
        Ok(run)
    }
}

/// gunicorn with its workers. Dropping it ends them.
#[derive(Debug)]
struct Gunicorn {
    child: Child,
    log_file: PathBuf,
    port: u16,
}

impl Gunicorn {
    fn start(program: &PathBuf, setting: Setting, database: &postgres::Server) -> Outcome<Self> {
        let port = process::free_port()?;
        let log_file = target_dir().join(format!("xtask-django-{}-{port}.log", std::process::id()));
        let log = fs::File::create(&log_file)?;
        let complaints = log.try_clone()?;
        let mut command = Command::new(program);
        in_project(&mut command, database).env("KEEP_CONNECTIONS", setting.keep_connections());
        command.args(["--bind", &format!("127.0.0.1:{port}"), "--no-control-socket"]).args(setting.gunicorn());
        command.arg("wallet_service.wsgi").stdin(Stdio::null()).stdout(log).stderr(complaints);
        let mut gunicorn = Self { child: command.spawn()?, log_file, port };
        gunicorn.wait_until_ready()?;
        Ok(gunicorn)
    }

    fn wait_until_ready(&mut self) -> Outcome<()> {
        process::wait_until("gunicorn did not answer", START_PATIENCE, || {
            if let Some(status) = self.child.try_wait()? {
                return Err(format!("gunicorn ended at once ({status}): {}", self.log()).into());
            }
            Ok(Api::on(self.port).try_get("/api/auth/users/me/").is_ok_and(|status| status == 401))
        })
    }

    fn log(&self) -> String {
        fs::read_to_string(&self.log_file).unwrap_or_default()
    }
}

impl Drop for Gunicorn {
    fn drop(&mut self) {
        process::stop(&mut self.child, "TERM", STOP_PATIENCE);
        let _ = fs::remove_file(&self.log_file);
    }
}

fn project() -> PathBuf {
    root().join("bench/django")
}

/// A command in the project's folder that knows its settings and the database, and leaves nothing there.
fn in_project<'c>(command: &'c mut Command, database: &postgres::Server) -> &'c mut Command {
    command.current_dir(project()).env("PYTHONPATH", project()).env("PYTHONDONTWRITEBYTECODE", "1");
    command.env("DJANGO_SETTINGS_MODULE", "wallet_service.settings").env("DJANGO_SECRET_KEY", "5a".repeat(32));
    database.point(command, DATABASE)
}
