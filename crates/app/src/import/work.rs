//! Working on an import: chunk by chunk, each one bulk for the ledger with the progress behind it as its companion.

use std::{borrow::Cow, path::Path, sync::Arc, time::Duration};

use florin_ledger::{Command, Verdict};
use florin_store::{
    StoreError, Tx,
    import::{self, ImportRow},
    user,
};
use serde::Serialize;
use uuid::Uuid;

use super::{
    Import, ImportError, ImportFolder, ImportFormat, Source,
    folder::remove,
    row::{RowItem, read_amount},
    source::Place,
};
use crate::{
    App, Bulk, Caller, Companion, Failure,
    wallet::{BatchOutcome, BatchRights, ItemOutcome, ItemRefusal, PreparedBatch},
};

/// Rows in one chunk of a server's import: other requests wait for no more than that.
const CHUNK_ROWS: usize = 1_000;
/// Bytes of a chunk after which it is full anyhow.
const CHUNK_BYTES: u64 = 4 * 1024 * 1024;
/// Most refused rows that are kept in one piece: a piece is a page of the report.
const PAGE_ROWS: usize = 1_000;
/// Longest reason of a refusal that is kept whole, characters.
const DETAIL_MAX_CHARS: usize = 200;
/// How long a worker rests after a failure, or without news, before it looks again.
const REST: Duration = Duration::from_secs(2);

/// Why an import ends whose user is not staff any more.
const NO_RIGHT: &str = "The user who asked for it may no longer import.";

/// What an import is worked on with.
#[derive(Debug, Clone, Copy)]
pub struct Work<'a> {
    /// The file.
    pub path: &'a Path,
    /// Who may what in it.
    pub rights: BatchRights,
    /// Rows in one commit.
    pub chunk_rows: usize,
}

/// Rows that are committed together.
struct Chunk {
    /// Where it began.
    from: Place,
    /// Where the next one begins.
    to: Place,
    is_last: bool,
    /// The numbers of the items' lines.
    lines: Vec<u64>,
    batch: PreparedBatch,
    /// Rows that are no items.
    invalid: Vec<(u64, ItemRefusal)>,
}

impl App {
    /// Deletes files that belong to no import of this node. Before the first one is received. Blocks.
    ///
    /// # Errors
    /// [`ImportError::Failure`].
    pub fn sweep_imports(&self, folder: &ImportFolder) -> Result<(), ImportError> {
        let running = florin_store::read(&*self.engine, |tx| import::list_running(tx, self.settings.writer));
        let ids: Vec<Uuid> = running.map_err(Failure::from)?.iter().map(|row| row.id).collect();
        Ok(folder.sweep(&ids)?)
    }

    /// Works on this node's imports for ever: those that were left over first, then each as it comes.
    pub async fn work_on_imports(self: Arc<Self>, folder: ImportFolder) {
        loop {
            if let Err(error) = self.work_off_imports(&folder).await {
                tracing::warn!(%error, "imports rest; they go on where they stopped");
            }
            // A failure may pass by itself, so the worker does not only wait for news.
            let _ = tokio::time::timeout(REST, self.imports_wanted.notified()).await;
        }
    }

    /// Works on this node's imports until none is left. One that fails does not keep the others waiting; a failure that
    /// does not pass by itself ends its import.
    ///
    /// # Errors
    /// [`ImportError::Failure`], one of them: what is left goes on where it stopped when this is called again.
    pub async fn work_off_imports(self: &Arc<Self>, folder: &ImportFolder) -> Result<(), ImportError> {
        let node = self.settings.writer;
        let mut worked = Ok(());
        for row in self.read(move |tx| import::list_running(tx, node)).await? {
            let id = row.id;
            if let Err(error) = self.work_off_import(row, folder).await {
                tracing::warn!(import = %id, %error, "an import stopped");
                worked = Err(error);
            }
        }
        worked
    }

    async fn work_off_import(self: &Arc<Self>, row: ImportRow, folder: &ImportFolder) -> Result<(), ImportError> {
        let (id, actor_id, path) = (row.id, row.actor_id, folder.file_of(row.id));
        let Some(rights) = self.rights_of(actor_id).await? else {
            self.fail_import(id, NO_RIGHT).await?;
            return Ok(remove(&path)?);
        };
        let work = Work { path: &path, rights, chunk_rows: CHUNK_ROWS };
        let mut worked = self.work_on_import(row.clone().into(), work, |_| ()).await;
        if let Err(ImportError::Failure(Failure::Internal(cause))) = &worked {
            // A chunk may share a commit with what failed in it.
            tracing::warn!(import = %id, %cause, "an import is tried once more");
            worked = self.work_on_import(row.into(), work, |_| ()).await;
        }
        match worked {
            Ok(_) => {}
            Err(ImportError::Forbidden) => self.fail_import(id, NO_RIGHT).await?,
            Err(ImportError::BadFile(text)) => self.fail_import(id, &text).await?,
            Err(error) if !path.exists() => {
                tracing::error!(import = %id, %error, "the file of an import has gone");
                self.fail_import(id, "The file is not on this node any more.").await?;
            }
            Err(ImportError::Failure(Failure::Internal(cause))) => {
                tracing::error!(import = %id, %cause, "an import cannot go on");
                self.fail_stopped_import(id).await?;
            }
            Err(error) => return Err(error),
        }
        Ok(remove(&path)?)
    }

    /// Ends an import that a failure stops for good; the cause is for the log alone.
    async fn fail_stopped_import(&self, id: Uuid) -> Result<(), ImportError> {
        let row = self.read(move |tx| import::find_import(tx, id)).await?.ok_or(ImportError::NotFound)?;
        let (node, line) = (row.node, row.progress.line);
        let text = format!(
            "An internal failure stopped it at line {line}; the log of node {node} tells which. The rows before that \
             line are applied or refused, the others are not: send those as a file of their own."
        );
        self.fail_import(id, &text).await
    }

    async fn fail_import(&self, id: Uuid, text: &str) -> Result<(), ImportError> {
        let (text, now_us) = (text.to_owned(), self.clock.now_us());
        Ok(self.write_own(move |tx| import::fail_import(tx, id, &text, now_us)).await?)
    }

    async fn rights_of(&self, actor_id: Uuid) -> Result<Option<BatchRights>, Failure> {
        let found = self.read(move |tx| user::find_user(tx, actor_id)).await?;
        let staff = found.filter(|user| user.is_live() && user.is_staff);
        Ok(staff.map(|user| {
            let (user_id, user_number) = (user.id, user.number);
            BatchRights::Caller(Caller { user_id, user_number, session_id: Uuid::nil(), is_staff: true })
        }))
    }

    /// Works on one import to its end, and gives it as it then is. `progress` hears of each commit.
    ///
    /// # Errors
    /// [`ImportError::BadFile`] when the file cannot be read as it was before, [`ImportError::Forbidden`] when the user
    /// is not staff any more, and [`ImportError::Failure`]: it goes on where it stopped when this is called again.
    pub async fn work_on_import(
        self: &Arc<Self>,
        mut import: Import,
        work: Work<'_>,
        progress: impl Fn(&Import),
    ) -> Result<Import, ImportError> {
        let format = ImportFormat::from_name(&import.format)
            .ok_or_else(|| ImportError::BadFile(format!("The format {} is not known here.", import.format)))?;
        let path = work.path.to_owned();
        let opened = move || Source::open(&path, format);
        let mut source = Some(self.blocking(opened).await??);
        while import.is_running() {
            let mut reading =
                source.take().ok_or_else(|| Failure::Internal("a source was not given back".to_owned()))?;
            let from = place_of(&import);
            let (most, rights, app) = (work.chunk_rows, work.rights, Arc::clone(self));
            let read = self.blocking(move || {
                let chunk = app.read_chunk(&mut reading, from, most, rights)?;
                Ok::<_, ImportError>((chunk, reading))
            });
            let (chunk, reading) = read.await??;
            source = Some(reading);
            self.commit_chunk(import.id, chunk).await?;
            // What is in the database counts: somebody else may have moved it on.
            let id = import.id;
            import = self.read(move |tx| import::find_import(tx, id)).await?.ok_or(ImportError::NotFound)?.into();
            progress(&import);
        }
        Ok(import)
    }

    /// Reads rows from `from` on and makes a batch of them. Blocks.
    fn read_chunk(
        &self,
        source: &mut Source,
        from: Place,
        most: usize,
        rights: BatchRights,
    ) -> Result<Chunk, ImportError> {
        source.go_to(from)?;
        let (mut lines, mut invalid, mut is_last) = (Vec::new(), Vec::new(), false);
        let mut items: Vec<RowItem> = Vec::new();
        while items.len() + invalid.len() < most && source.place().0.saturating_sub(from.0) < CHUNK_BYTES {
            match source.next_row()? {
                Some((line, Ok(item))) => {
                    lines.push(line);
                    items.push(item);
                }
                Some((line, Err(refusal))) => invalid.push((line, refusal)),
                None => {
                    is_last = true;
                    break;
                }
            }
        }
        let batch = self.prepare_batch(rights, &items, |amount, asset| read_amount(amount, asset))?;
        // Asked behind that: without the right, rows would have been refused that are none of the user's.
        if let BatchRights::Caller(caller) = rights
            && !self.with_current_rights_here(&caller)?.is_staff
        {
            return Err(ImportError::Forbidden);
        }
        Ok(Chunk { from, to: source.place(), is_last, lines, batch, invalid })
    }

    async fn commit_chunk(&self, id: Uuid, chunk: Chunk) -> Result<(), ImportError> {
        let Chunk { from, to, is_last, lines, batch, invalid } = chunk;
        let (items, commands, refused) = batch.into_parts();
        let now_us = self.clock.now_us();
        let companion = Moved { id, from, to, is_last, now_us, lines, items, refused, invalid };
        let bulk = Bulk { companion: Some(Box::new(companion)), ..Bulk::of(commands, false) };
        self.queue.submit_bulk(bulk)?.verdict().await?;
        Ok(())
    }
}

fn place_of(import: &Import) -> Place {
    let number = |number: i64| u64::try_from(number).unwrap_or_default();
    (number(import.progress.position), number(import.progress.line))
}

/// Moves an import on, and keeps what was refused, in the database transaction of its chunk.
struct Moved {
    id: Uuid,
    from: Place,
    to: Place,
    is_last: bool,
    now_us: i64,
    lines: Vec<u64>,
    items: usize,
    refused: Vec<(usize, ItemRefusal)>,
    invalid: Vec<(u64, ItemRefusal)>,
}

#[derive(Serialize)]
struct RefusedRow<'a> {
    line: u64,
    code: Cow<'a, str>,
    detail: Cow<'a, str>,
}

impl Moved {
    /// Counts rows, and keeps those that were refused as one page.
    fn count(&self, tx: &mut dyn Tx, applied: usize, refused: &[RefusedRow<'_>]) -> Result<(), StoreError> {
        let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        let text = match refused {
            [] => String::new(),
            rows => serde_json::to_string(rows).map_err(|error| StoreError::Internal(error.to_string()))?,
        };
        let line = refused.first().map_or(self.from.1, |row| row.line);
        let counts = (number(applied), number(refused.len()));
        import::count_rows(tx, self.id, i64::try_from(line).unwrap_or(i64::MAX), counts, &text)
    }
}

/// The reason, cut where it is too long: it may repeat what the file says.
fn bounded(detail: Cow<'_, str>) -> Cow<'_, str> {
    match detail.char_indices().nth(DETAIL_MAX_CHARS) {
        Some((end, _)) => format!("{}…", &detail[..end]).into(),
        None => detail,
    }
}

impl Companion for Moved {
    fn begin(&mut self, tx: &mut dyn Tx) -> Result<bool, StoreError> {
        let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        let to = (number(self.to.0), number(self.to.1));
        import::advance(tx, self.id, number(self.from.0), to, self.is_last, self.now_us)
    }

    fn finish(&mut self, tx: &mut dyn Tx, commands: &[Command], verdicts: &[Verdict]) -> Result<(), StoreError> {
        let outcome = BatchOutcome::each(self.items, &self.refused, commands, verdicts);
        let mut rows: Vec<RefusedRow<'_>> = self
            .invalid
            .iter()
            .map(|(line, refusal)| RefusedRow {
                line: *line,
                code: refusal.code.into(),
                detail: bounded((&refusal.detail).into()),
            })
            .collect();
        rows.extend(outcome.outcomes().zip(&self.lines).filter_map(|(item, line)| match item {
            ItemOutcome::Refused { code, detail } => Some(RefusedRow { line: *line, code, detail: bounded(detail) }),
            ItemOutcome::Applied { .. } => None,
        }));
        rows.sort_by_key(|row| row.line);
        let (first, others) = rows.split_at(rows.len().min(PAGE_ROWS));
        self.count(tx, outcome.applied(), first)?;
        others.chunks(PAGE_ROWS).try_for_each(|page| self.count(tx, 0, page))
    }

    fn subject(&self) -> String {
        self.id.to_string()
    }
}
