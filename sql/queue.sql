-- webhook.queue: the deliveries still owed. Narrow and hot; no body. A row appears with its event, in the same
-- transaction, and leaves with its last outcome, in the same transaction.
--
-- xid is the top-level transaction that made (or renewed) the row. The worker's tail reads by it, exactly: whatever
-- the snapshot of its last read could not see. See worker/tail.sql.
CREATE TABLE webhook.queue (
  event_id uuid NOT NULL,
  xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
  due timestamptz,
  signed_at timestamptz,
  restarted_at timestamptz,
  endpoint_id int NOT NULL,
  attempts int NOT NULL DEFAULT 0,
  step int NOT NULL DEFAULT 0,
  generation int,
  variant int,
  signature text,
  lane bigint,
  PRIMARY KEY (endpoint_id, event_id)
) WITH (
  fillfactor = 90,
  autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 10000,
  autovacuum_vacuum_insert_threshold = -1,
  autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 100000,
  autovacuum_vacuum_cost_delay = 0
);
CREATE INDEX queue_tail ON webhook.queue (xid, event_id);
CREATE INDEX queue_lane ON webhook.queue (endpoint_id, lane, event_id) WHERE lane IS NOT NULL;
CREATE INDEX queue_due ON webhook.queue (endpoint_id, due) WHERE due IS NOT NULL;
COMMENT ON TABLE webhook.queue IS 'Deliveries still owed, one row per (endpoint, event)';
COMMENT ON COLUMN webhook.queue.due IS 'when the next attempt is due; NULL means as soon as possible';
COMMENT ON COLUMN webhook.queue.attempts IS 'attempts made so far, over all runs of the schedule';
COMMENT ON COLUMN webhook.queue.step IS 'attempts made in this run of the schedule';
COMMENT ON COLUMN webhook.queue.restarted_at IS 'when a resend or replay started the schedule anew; NULL in the first run';
COMMENT ON COLUMN webhook.queue.variant IS 'which body of webhook.event_body is sent; NULL: the event''s own';
COMMENT ON COLUMN webhook.queue.signature IS 'signature made at enqueue, sent while it is fresh and generation still holds';
COMMENT ON COLUMN webhook.queue.lane IS 'at an ordered endpoint: what events with the same key have in common; NULL elsewhere';

-- From here on, until the transaction ends, statements are planned for a queue as long as its pages have room for, not as
-- short as VACUUM may have found it (extension/src/estimate.rs). Before what looks rows up by their keys.
CREATE FUNCTION webhook.plan_for_full_queue() RETURNS void
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'plan_for_full_queue_wrapper';

-- The lane of events with this key. The same as in extension/src/store.rs.
CREATE FUNCTION webhook.lane(key text) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
  SELECT coalesce(hashtextextended(key COLLATE "C", 0), 0)
$$;

-- Gives a delivery that is owed again its lane. Emitting writes rows without firing triggers; a restore brings lanes along.
CREATE FUNCTION webhook.give_lane() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF NOT webhook.in_copy() THEN
    SELECT webhook.lane(e.key) INTO NEW.lane
    FROM webhook.endpoint p JOIN webhook.event e ON e.id = NEW.event_id
    WHERE p.id = NEW.endpoint_id AND p.ordered;
  END IF;
  RETURN NEW;
END
$$;
CREATE TRIGGER give_lane BEFORE INSERT ON webhook.queue
  FOR EACH ROW EXECUTE FUNCTION webhook.give_lane();

-- Endpoints that are owed something, in the order of their ids; those that no longer exist are among them. A loose index
-- scan: one probe per endpoint, however long its queue is. The planner would rather read the whole table.
CREATE FUNCTION webhook.owed_endpoints() RETURNS SETOF int
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
SET enable_bitmapscan = off
SET enable_sort = off
SET jit = off
AS $$
  WITH RECURSIVE owed (id) AS (
    (SELECT q.endpoint_id FROM webhook.queue q ORDER BY q.endpoint_id LIMIT 1)
    UNION ALL
    SELECT (SELECT q.endpoint_id FROM webhook.queue q WHERE q.endpoint_id > o.id ORDER BY q.endpoint_id LIMIT 1)
    FROM owed o WHERE o.id IS NOT NULL
  )
  SELECT o.id FROM owed o WHERE o.id IS NOT NULL
$$;
