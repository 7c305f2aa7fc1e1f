-- webhook.event: what happened. Append-only; the body is the exact bytes that are signed and sent.
--
-- Partitioned by range on the id: a UUIDv7 carries its time, so a look-up by id reads one leaf and retention never
-- deletes row by row. Leaves are made ahead by the worker's janitor (webhook.janitor_*); what it missed goes to the
-- default leaf, so emitting never depends on it. The parent carries no key or index: each leaf has its own (a key
-- on the parent makes ATTACH and pg_restore take locks and orders they can't have).
CREATE TABLE webhook.event (
  id uuid NOT NULL,
  type text NOT NULL,
  tenant text,
  key text,
  body text NOT NULL,
  created_at timestamptz NOT NULL
) PARTITION BY RANGE (id);
COMMENT ON TABLE webhook.event IS 'What happened: id (UUIDv7), type, tenant, key and the body as it is sent';
COMMENT ON COLUMN webhook.event.key IS 'what the event is about; order and erasure go by it';
COMMENT ON COLUMN webhook.event.body IS 'the request body, byte for byte; empty once webhook_forget() has erased it';

CREATE TABLE webhook.event_default PARTITION OF webhook.event DEFAULT;
CREATE UNIQUE INDEX event_default_id ON webhook.event_default (id);

-- webhook.event_body: the bodies of events whose endpoints want another envelope, or a transform of it; one per way of
-- writing it, for all endpoints that have it. Partitioned, retired and as immutable as the events themselves.
CREATE TABLE webhook.event_body (
  event_id uuid NOT NULL,
  variant int NOT NULL,
  endpoint_ids int[] NOT NULL,
  body text NOT NULL
) PARTITION BY RANGE (event_id);
COMMENT ON TABLE webhook.event_body IS 'Bodies of events for endpoints that want them written otherwise';
COMMENT ON COLUMN webhook.event_body.variant IS 'number of the body among those of the event';
COMMENT ON COLUMN webhook.event_body.endpoint_ids IS 'the endpoints it is for';
COMMENT ON COLUMN webhook.event_body.body IS 'the request body, byte for byte';

CREATE TABLE webhook.event_body_default PARTITION OF webhook.event_body DEFAULT;
CREATE UNIQUE INDEX event_body_default_id ON webhook.event_body_default (event_id, variant);

-- Bodies of 2 kB and more are compressed; lz4 takes a writer a fraction of the time. Leaves have what the default leaf has.
-- PostgreSQL may be built without it.
DO $$
BEGIN
  ALTER TABLE webhook.event_default ALTER COLUMN body SET COMPRESSION lz4;
  ALTER TABLE webhook.event_body_default ALTER COLUMN body SET COMPRESSION lz4;
EXCEPTION WHEN feature_not_supported THEN
  NULL;
END
$$;

-- webhook.idempotency: which event an idempotency key stands for.
CREATE TABLE webhook.idempotency (
  tenant text,
  key text NOT NULL,
  event_id uuid NOT NULL,
  type text NOT NULL,
  digest bytea NOT NULL,
  expires_at timestamptz NOT NULL
);
CREATE UNIQUE INDEX idempotency_key ON webhook.idempotency (key, coalesce(tenant, ''), (tenant IS NULL));
CREATE INDEX idempotency_expires_at ON webhook.idempotency (expires_at);
COMMENT ON TABLE webhook.idempotency IS 'Idempotency keys of webhook_emit and the events they made';
COMMENT ON COLUMN webhook.idempotency.digest IS 'SHA-256 of the data: the same key with other data is refused';
