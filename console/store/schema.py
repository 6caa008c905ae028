"""The index's tables, as the steps that lead from an empty file to the present version.

Step i upgrades a file of version i to i + 1; a new file takes all of them. A step that was released
is never edited. Rows that lists scan (`runs`) are narrow; what only a visible row needs lies in
`texts`; `ready` holds the JSON of `ls --json`, to be printed as it is: `head || metrics`. Indexes
that only serve one list hold all its columns, so that 100,000 rows are not fetched to be sorted.
"""

from __future__ import annotations

PAGE = 8192
"""Bytes a page. A run's ready JSON has 1.5 kB: with pages of 4096 each would take one alone, and
reading 10,000 of them twice the time."""

ACTIVE = "'new', 'queued', 'starting', 'running', 'stopping'"
"""States of runs that are not over, in SQL (a test compares them with base.ACTIVE)."""

MISSING = "state = 'lost' AND rank = 0 AND NOT archived AND observed_at < ?"
"""Of a run whose directory was not there when it was last looked for, before a moment, in SQL."""

LEFT = "size - offset > 65536"
"""Of a source that a look has left something of: more than the line that is being written. As in
the index `sources_left`, which only serves a query that says the same."""

MOST_LEFT = 256 << 20
"""Bytes left of a source up to which it is read on unasked: a minute's work. The rest of a larger
one is read by `traindeck metrics`."""

STEPS: tuple[str, ...] = (
    """
    CREATE TABLE meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID;
    INSERT INTO meta VALUES ('schema', 1), ('clock', 0), ('removed', 0);

    CREATE TABLE runs (
        n INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        name TEXT NOT NULL,
        folded TEXT NOT NULL,
        backend TEXT NOT NULL,
        native_id TEXT NOT NULL,
        state TEXT NOT NULL,
        rank INTEGER NOT NULL,
        reach TEXT NOT NULL,
        observed_at REAL NOT NULL,
        attempt INTEGER NOT NULL,
        exit_code INTEGER,
        signal INTEGER,
        created REAL NOT NULL,
        started REAL,
        ended REAL,
        host TEXT,
        pid INTEGER,
        gpus INTEGER NOT NULL,
        project TEXT NOT NULL,
        recipe TEXT,
        archived INTEGER NOT NULL,
        looked_at REAL,
        is_foreign INTEGER NOT NULL,
        log_bytes INTEGER,
        step INTEGER,
        total INTEGER,
        fraction REAL,
        eta REAL,
        progress_at REAL,
        main TEXT,
        latest REAL NOT NULL,
        touched INTEGER NOT NULL
    );
    CREATE INDEX runs_created ON runs (created);
    CREATE INDEX runs_latest ON runs (latest);
    CREATE INDEX runs_group ON runs (state, created, looked_at, ended, reach, observed_at, main);
    CREATE INDEX runs_folded ON runs (folded);
    CREATE INDEX runs_touched ON runs (touched);

    CREATE TABLE texts (
        n INTEGER PRIMARY KEY,
        reason TEXT NOT NULL,
        evidence TEXT NOT NULL,
        argv TEXT NOT NULL,
        cwd TEXT NOT NULL,
        note TEXT NOT NULL,
        tags TEXT NOT NULL,
        params TEXT NOT NULL
    );

    CREATE TABLE ready (n INTEGER PRIMARY KEY, head TEXT NOT NULL, metrics TEXT NOT NULL);

    CREATE TABLE tags (
        run INTEGER NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL, folded TEXT NOT NULL,
        PRIMARY KEY (run, key)
    ) WITHOUT ROWID;

    CREATE TABLE params (
        run INTEGER NOT NULL, key TEXT NOT NULL, number REAL, text TEXT NOT NULL,
        PRIMARY KEY (run, key)
    ) WITHOUT ROWID;

    CREATE TABLE marks (
        run_id TEXT PRIMARY KEY, time REAL NOT NULL,
        name TEXT, note TEXT, archived INTEGER, looked_at REAL, tags TEXT NOT NULL,
        backend TEXT, native_id TEXT, attempt INTEGER, submitted_as TEXT, deleted INTEGER NOT NULL
    ) WITHOUT ROWID;

    CREATE TABLE series (
        s INTEGER PRIMARY KEY,
        run INTEGER NOT NULL,
        key TEXT NOT NULL,
        count INTEGER NOT NULL,
        first REAL, last REAL, last_step INTEGER, last_time REAL,
        min REAL, min_step INTEGER, max REAL, max_step INTEGER,
        nonfinite INTEGER NOT NULL,
        spark TEXT NOT NULL,
        source TEXT NOT NULL,
        UNIQUE (run, key)
    );

    CREATE TABLE cuts (
        s INTEGER NOT NULL, attempt INTEGER NOT NULL, step INTEGER NOT NULL,
        PRIMARY KEY (s, attempt)
    ) WITHOUT ROWID;

    CREATE TABLE chunks (
        c INTEGER PRIMARY KEY,
        s INTEGER NOT NULL,
        attempt INTEGER NOT NULL,
        step0 INTEGER NOT NULL,
        step1 INTEGER NOT NULL,
        count INTEGER NOT NULL,
        first REAL, last REAL, last_time REAL,
        min REAL, min_step INTEGER, max REAL, max_step INTEGER,
        nonfinite INTEGER NOT NULL,
        mean REAL,
        sources BLOB NOT NULL,
        slices BLOB NOT NULL,
        data BLOB NOT NULL
    );
    CREATE UNIQUE INDEX chunks_step ON chunks (s, step0);

    CREATE TABLE sources (
        run INTEGER NOT NULL, path TEXT NOT NULL,
        inode INTEGER NOT NULL, size INTEGER NOT NULL, offset INTEGER NOT NULL,
        carry TEXT NOT NULL,
        PRIMARY KEY (run, path)
    ) WITHOUT ROWID;

    CREATE TABLE leases (name TEXT PRIMARY KEY, until REAL NOT NULL) WITHOUT ROWID;
    """,
    # When the main metric ceased to be a number, so that one who has looked since is left alone.
    """
    ALTER TABLE runs ADD COLUMN broken_at REAL;
    UPDATE runs SET broken_at = observed_at WHERE state = 'running' AND EXISTS (
        SELECT 1 FROM series x WHERE x.run = runs.n AND x.key = runs.main AND x.count > 0
        AND (x.last IS NULL OR abs(x.last) > 1.7976931348623157e308));
    DROP INDEX runs_group;
    CREATE INDEX runs_group
        ON runs (state, created, looked_at, ended, reach, observed_at, broken_at);
    """,
    # In the ready JSON "NaN" where there was null. Infinities are told apart when a run is next
    # written, or by `reindex`.
    """
    UPDATE ready SET metrics = replace(metrics, '"last": null', '"last": "NaN"')
        WHERE n IN (SELECT run FROM series WHERE last IS NULL AND count > 0)
        AND n NOT IN (SELECT run FROM series WHERE abs(last) > 1.7976931348623157e308);
    """,
    "ALTER TABLE runs ADD COLUMN adopted INTEGER NOT NULL DEFAULT 0;",
    # What is not known of series that were broken before; known when they are next written.
    "ALTER TABLE series ADD COLUMN broken_step INTEGER;",
    "ALTER TABLE runs ADD COLUMN partial INTEGER NOT NULL DEFAULT 0;",
    f"CREATE INDEX sources_left ON sources (run) WHERE {LEFT};",
    # The same in the ready JSON.
    """
    UPDATE ready SET head = replace(head, '}, "main": ',
        CASE WHEN (SELECT partial FROM runs WHERE runs.n = ready.n)
        THEN ', "partial": true}, "main": ' ELSE ', "partial": false}, "main": ' END);
    """,
    # How the attempts of an archived run ended; and that it needs nobody.
    """
    ALTER TABLE marks ADD COLUMN attempts TEXT;
    DROP INDEX runs_group;
    CREATE INDEX runs_group
        ON runs (state, created, looked_at, ended, reach, observed_at, broken_at, archived);
    """,
    # When a run made its last step, in the ready JSON.
    """
    UPDATE ready SET head = replace(head, '}, "main": ', ', "at": ' || (
        SELECT coalesce('"' || strftime('%Y-%m-%dT%H:%M:%fZ', progress_at, 'unixepoch') || '"',
        'null') FROM runs WHERE runs.n = ready.n) || '}, "main": ');
    """,
    # When something began to be wrong with a run that goes on, and from when on it is silent
    # (records.silent_after), so that both need a person until one has looked.
    """
    ALTER TABLE runs ADD COLUMN troubled_at REAL;
    ALTER TABLE runs ADD COLUMN silent_from REAL;
    UPDATE runs SET troubled_at = observed_at WHERE state = 'running' AND reach = 'ok'
        AND EXISTS (SELECT 1 FROM texts t WHERE t.n = runs.n AND t.reason <> '');
    UPDATE runs SET silent_from = (
        SELECT newest + max(180.0, 10.0 * max(0.0, newest - began) / max(1, reports)) FROM (
            SELECT max(coalesce(runs.progress_at, 0.0), coalesce(max(x.last_time), 0.0)) AS newest,
                coalesce(max(x.count), runs.step, 1) AS reports,
                CASE WHEN runs.attempt THEN runs.created ELSE runs.started END AS began
            FROM series x WHERE x.run = runs.n
            AND x.key NOT GLOB 'system/*' AND x.key NOT GLOB '__*'
        ) WHERE newest >= runs.started
    ) WHERE state = 'running' AND started IS NOT NULL;
    DROP INDEX runs_group;
    CREATE INDEX runs_group ON runs (state, created, looked_at, ended, reach, observed_at,
        broken_at, archived, troubled_at, silent_from);
    """,
    # How many are archived is asked with each listing.
    """
    CREATE INDEX runs_archived ON runs (n) WHERE archived;
    """,
    # How long a run may take: of those that are there, what its place allows it is known when it is
    # next looked at, what was asked for when the index is rebuilt.
    """
    ALTER TABLE runs ADD COLUMN time_limit REAL;
    ALTER TABLE runs ADD COLUMN place_limit REAL;
    """,
)


def version() -> int:
    """The version this Traindeck writes."""
    return len(STEPS)
