-- Makes sure that a table, and every partition of it, has the triggers its sources need. A trigger that is there is
-- left alone, so settings change without a lock on a hot table.
CREATE FUNCTION webhook.ensure_triggers(relation regclass) RETURNS int
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET lock_timeout = '3s'
AS $$
#variable_conflict use_variable
DECLARE
  target record;
  made int := 0;
BEGIN
  FOR target IN
    SELECT t.relid, o.op, o.clause
    FROM (SELECT relation AS relid UNION SELECT p.relid FROM pg_partition_tree(relation) p) t
    JOIN pg_class c ON c.oid = t.relid AND c.relkind = ANY ('{r,p}')
    CROSS JOIN (VALUES
      ('insert', 'INSERT ON %s REFERENCING NEW TABLE AS webhook_new'),
      ('update', 'UPDATE ON %s REFERENCING OLD TABLE AS webhook_old NEW TABLE AS webhook_new'),
      ('delete', 'DELETE ON %s REFERENCING OLD TABLE AS webhook_old'),
      ('truncate', 'TRUNCATE ON %s')) o (op, clause)
    WHERE EXISTS (SELECT FROM webhook.source s WHERE s.relation = ensure_triggers.relation AND (o.op = ANY (s.operations) OR s.per_transaction
        -- An update that moves a row to another partition deletes it if a BEFORE trigger there refuses the row.
        OR o.op = 'update' AND c.relkind = 'p' AND 'delete' = ANY (s.operations)))
      AND NOT EXISTS (SELECT FROM pg_trigger g
        WHERE g.tgrelid = t.relid AND g.tgname = 'webhook_' || o.op AND g.tgfoid = 'webhook.capture()'::regprocedure)
    ORDER BY t.relid, o.op
  LOOP
    EXECUTE format('CREATE TRIGGER %I AFTER ' || target.clause || ' FOR EACH STATEMENT EXECUTE FUNCTION webhook.capture()',
      'webhook_' || target.op, target.relid::regclass);
    made := made + 1;
  END LOOP;
  RETURN made;
END
$$;

-- A source that is written has the triggers it needs, however it is written. A restore brings them itself.
CREATE FUNCTION webhook.source_written() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF NOT webhook.in_copy() THEN
    PERFORM webhook.ensure_triggers(NEW.relation);
  END IF;
  RETURN NULL;
END
$$;
CREATE TRIGGER source_written AFTER INSERT OR UPDATE ON webhook.source
  FOR EACH ROW EXECUTE FUNCTION webhook.source_written();

-- Has a table's row changes become events. Called again for the same name it replaces the settings.
--   relation       a table or partitioned table you own; its partitions are covered, later ones too
--   name           tells several sources of one table apart
--   operations     any of insert, update, delete, truncate
--   event_names    operation → event type; default <table>.created, .updated, .deleted, .truncated
--   watch          an update counts only if one of these columns changed
--   omit           columns left out
--   condition      SQL condition over old and new
--   body_function  function of the row that returns the event's data
--   tenant, key    SQL expressions over old and new
--   on_error       raise | warn
--   per_transaction  one event per row and transaction, made when it commits
CREATE FUNCTION @extschema@.webhook_attach(
  relation regclass, name text DEFAULT 'default', operations text[] DEFAULT '{insert,update,delete}',
  event_names jsonb DEFAULT NULL, watch text[] DEFAULT NULL, omit text[] DEFAULT NULL, condition text DEFAULT NULL,
  body_function text DEFAULT NULL, tenant text DEFAULT NULL, key text DEFAULT NULL, on_error text DEFAULT 'raise',
  per_transaction boolean DEFAULT false
) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
BEGIN
  IF relation IS NULL THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = 'relation is NULL', HINT = 'Give a table, e.g. webhook_attach(''orders'').';
  END IF;
  INSERT INTO webhook.source AS s (relation, name, operations, event_names, watch, omit, condition, body_function, tenant, key,
      on_error, per_transaction)
    VALUES (relation, name, operations, coalesce(event_names, '{}'), watch, omit, condition, body_function, tenant, key,
      on_error, per_transaction)
  ON CONFLICT ON CONSTRAINT source_pkey DO UPDATE SET
    operations = excluded.operations, event_names = excluded.event_names, watch = excluded.watch, omit = excluded.omit,
    condition = excluded.condition, body_function = excluded.body_function, tenant = excluded.tenant,
    key = excluded.key, on_error = excluded.on_error, per_transaction = excluded.per_transaction,
    configured_by = excluded.configured_by;
END
$$;
COMMENT ON FUNCTION @extschema@.webhook_attach(regclass, text, text[], jsonb, text[], text[], text, text, text, text, text, boolean)
  IS 'Have a table''s row changes become events';

-- Ends what webhook_attach() began; NULL for every source of the table. Returns how many there were.
CREATE FUNCTION @extschema@.webhook_detach(relation regclass, name text DEFAULT NULL) RETURNS int
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET lock_timeout = '3s'
AS $$
#variable_conflict use_variable
DECLARE
  ended int;
  target record;
BEGIN
  IF EXISTS (SELECT FROM pg_class c WHERE c.oid = relation AND NOT pg_has_role(c.relowner, 'USAGE')) THEN
    RAISE EXCEPTION USING ERRCODE = '42501', MESSAGE = format('must be owner of table %s', relation),
      HINT = 'Only its owner may say what is captured of a table.';
  END IF;
  DELETE FROM webhook.source s WHERE s.relation = relation AND (name IS NULL OR s.name = name);
  GET DIAGNOSTICS ended = ROW_COUNT;
  IF NOT EXISTS (SELECT FROM webhook.source s WHERE s.relation = relation) THEN
    FOR target IN
      SELECT g.tgrelid, g.tgname FROM pg_trigger g
      WHERE g.tgrelid IN (SELECT relation::oid UNION SELECT p.relid::oid FROM pg_partition_tree(relation) p)
        AND g.tgfoid = 'webhook.capture()'::regprocedure
      ORDER BY g.tgrelid, g.tgname
    LOOP
      EXECUTE format('DROP TRIGGER %I ON %s', target.tgname, target.tgrelid::regclass);
    END LOOP;
  END IF;
  RETURN ended;
END
$$;
COMMENT ON FUNCTION @extschema@.webhook_detach(regclass, text) IS 'Stop making events of a table''s row changes; returns how many sources ended';

-- Rows of webhook.source belong to whoever owns the table.
ALTER TABLE webhook.source ENABLE ROW LEVEL SECURITY;
CREATE POLICY owner_writes ON webhook.source USING (
  EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.oid OPERATOR(pg_catalog.=) relation AND pg_catalog.pg_has_role(c.relowner, 'USAGE')));
CREATE POLICY reader_reads ON webhook.source FOR SELECT TO webhook_reader, webhook_admin USING (true);
