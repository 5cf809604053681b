-- What was indexed, and when its message was sent: older versions that arrive late are passed over.
CREATE TABLE documents (id TEXT PRIMARY KEY, text TEXT NOT NULL, metadata TEXT NOT NULL, sent INTEGER NOT NULL) WITHOUT ROWID;

-- Sparse vectors, by term.
CREATE TABLE postings (term INTEGER, id TEXT, weight REAL NOT NULL, PRIMARY KEY (term, id)) WITHOUT ROWID;

CREATE INDEX postings_by_document ON postings (id);
