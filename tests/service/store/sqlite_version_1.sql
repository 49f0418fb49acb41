-- A store of version 1, as it was written then. Kept by hand: it never changes.
PRAGMA application_id = 1853123955;
PRAGMA user_version = 1;
BEGIN TRANSACTION;
CREATE TABLE blobs (blob INTEGER PRIMARY KEY, body BLOB NOT NULL);
INSERT INTO "blobs" VALUES(1,X'7468652073746174652061667465722032');
CREATE TABLE checkpoints (
    sid INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    name NOT NULL, -- a snapshot's, else the number 0
    step INTEGER NOT NULL,
    at REAL NOT NULL,
    key TEXT,
    fingerprint BLOB NOT NULL,
    state BLOB, -- the hash of one of states; null: the bundle's initial state
    bundle INTEGER NOT NULL,
    sum INTEGER NOT NULL,
    PRIMARY KEY (sid, revision, name)
) WITHOUT ROWID;
INSERT INTO "checkpoints" VALUES(1,1,0,0,0.0,NULL,X'',NULL,204293277148786,2375118033);
INSERT INTO "checkpoints" VALUES(1,3,0,2,0.0,NULL,X'',X'FA8FF0642A4A1BE79E193037290F582E607E77DA',204293277148786,4105782729);
CREATE TABLE counts (
    model TEXT NOT NULL,
    version TEXT NOT NULL,
    live INTEGER NOT NULL,
    PRIMARY KEY (model, version)
) WITHOUT ROWID;
INSERT INTO "counts" VALUES('copy','1',1);
CREATE TABLE journal ( -- see service/store/sqlite_journal.py
    seq INTEGER PRIMARY KEY,
    id INTEGER NOT NULL,
    kind TEXT NOT NULL,
    step INTEGER NOT NULL,
    count INTEGER NOT NULL,
    at REAL NOT NULL,
    key TEXT,
    fingerprint BLOB NOT NULL,
    rows BLOB NOT NULL,
    outputs BLOB NOT NULL,
    bundle INTEGER NOT NULL, -- of its fingerprint; see service/store/codec.py
    sum INTEGER NOT NULL
);
INSERT INTO "journal" VALUES(2,4294967298,'step',1,1,1700000000.75,'k1',X'726F7773',X'726F772031',X'6F75742031',204293277148786,2248904041);
INSERT INTO "journal" VALUES(4,4294967300,'step',3,1,1700000001.75,'k3',X'726F7773',X'726F772033',X'6F75742033',204293277148786,3515752432);
CREATE TABLE records (
    id INTEGER PRIMARY KEY, -- sid * 2^32 + revision: a session's records lie together
    kind TEXT NOT NULL,
    step INTEGER NOT NULL,
    count INTEGER NOT NULL,
    at REAL NOT NULL,
    key TEXT,
    fingerprint BLOB NOT NULL,
    rows BLOB NOT NULL,
    outputs BLOB NOT NULL,
    bundle INTEGER NOT NULL, -- of its fingerprint; see service/store/codec.py
    sum INTEGER NOT NULL
);
INSERT INTO "records" VALUES(4294967297,'create',0,0,1700000000.25,'k0',X'6D616465',X'',X'',204293277148786,2426857538);
INSERT INTO "records" VALUES(4294967298,'step',1,1,1700000000.75,'k1',X'726F7773',X'726F772031',X'6F75742031',204293277148786,2248904041);
INSERT INTO "records" VALUES(4294967299,'step',2,1,1700000001.25,'k2',X'726F7773',X'726F772032',X'6F75742032',204293277148786,1191699219);
CREATE TABLE sessions (
    sid INTEGER PRIMARY KEY,
    tenant TEXT NOT NULL,
    id TEXT NOT NULL,
    model TEXT NOT NULL,
    version TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    incarnation TEXT NOT NULL,
    revision INTEGER NOT NULL, -- these three are behind where a later record says so
    step INTEGER NOT NULL,
    created_at REAL NOT NULL,
    committed_at REAL NOT NULL,
    idle_ttl_s REAL NOT NULL,
    forked_from TEXT,
    sum INTEGER NOT NULL, -- as everywhere: CRC-32 of the columns before
    due REAL NOT NULL, -- no later than its TTL runs out: when to look at it
    UNIQUE (tenant, id)
);
INSERT INTO "sessions" VALUES(1,'acme','kept','copy','1','bundle','inc',1,0,1700000000.25,1700000000.25,1000000000.0,NULL,2906819393,2700000000.25);
CREATE TABLE states (
    hash BLOB PRIMARY KEY, -- BLAKE2b of the body, so equal states are stored once
    blob INTEGER NOT NULL,
    refs INTEGER NOT NULL -- checkpoints that name it
) WITHOUT ROWID;
INSERT INTO "states" VALUES(X'FA8FF0642A4A1BE79E193037290F582E607E77DA',1,1);
CREATE TABLE tombstones (
    tenant TEXT NOT NULL,
    id TEXT NOT NULL,
    reason TEXT NOT NULL,
    until REAL NOT NULL,
    PRIMARY KEY (tenant, id)
) WITHOUT ROWID;
INSERT INTO "tombstones" VALUES('acme','gone','deleted',9999999999.0);
CREATE INDEX sessions_due ON sessions (due);
CREATE INDEX tombstones_until ON tombstones (until);
COMMIT;
