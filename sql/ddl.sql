-- What DDL on tables means for their sources, in the statement that does it. These functions belong to the superuser
-- who creates the extension: nobody else may put triggers on tables of others.

-- Partitions made or attached later get the triggers of the table they belong to. A table with sources neither loses
-- a column they name nor comes under a parent, whose statements would pass them by.
CREATE FUNCTION webhook.follow_ddl() RETURNS event_trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  concerned webhook.source;
BEGIN
  FOR concerned IN
    SELECT s.* FROM webhook.source s
    WHERE s.relation IN (
      SELECT t.relid
      FROM pg_event_trigger_ddl_commands() c
      CROSS JOIN LATERAL (SELECT c.objid UNION SELECT p.relid FROM pg_partition_tree(c.objid) p
        UNION SELECT a.relid FROM pg_partition_ancestors(c.objid) a) t (relid)
      WHERE c.classid = 'pg_class'::regclass)
    ORDER BY s.relation, s.name
  LOOP
    PERFORM webhook.check_on_its_own(concerned.relation);
    PERFORM webhook.check_names(concerned);
  END LOOP;
  -- Only for what became a partition just now. Any other ALTER TABLE may be a restore's, which adds keys while some
  -- triggers are still to come from the dump.
  FOR concerned.relation IN
    SELECT DISTINCT s.relation
    FROM pg_event_trigger_ddl_commands() c
    CROSS JOIN LATERAL pg_partition_ancestors(c.objid) a
    JOIN webhook.source s ON s.relation = a.relid
    WHERE c.classid = 'pg_class'::regclass AND (c.command_tag = 'CREATE TABLE' OR webhook.attaches_partition(c.command))
  LOOP
    PERFORM webhook.ensure_triggers(concerned.relation);
  END LOOP;
END
$$;
CREATE EVENT TRIGGER webhook_follow_ddl ON ddl_command_end
  WHEN TAG IN ('CREATE TABLE', 'CREATE SCHEMA', 'ALTER TABLE') EXECUTE FUNCTION webhook.follow_ddl();

-- A dropped table is no source any more.
CREATE FUNCTION webhook.forget_dropped() RETURNS event_trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  dropped oid[];
BEGIN
  -- The extension itself may be what is dropped.
  IF to_regclass('webhook.source') IS NULL THEN
    RETURN;
  END IF;
  SELECT array_agg(s.relation) INTO dropped FROM webhook.source s
  JOIN pg_event_trigger_dropped_objects() d ON d.classid = 'pg_class'::regclass AND d.objsubid = 0 AND d.objid = s.relation;
  -- No statement without need: it would tell every session and worker that the configuration changed.
  IF dropped IS NOT NULL THEN
    DELETE FROM webhook.source s WHERE s.relation = ANY (dropped);
  END IF;
END
$$;
CREATE EVENT TRIGGER webhook_forget_dropped ON sql_drop
  WHEN TAG IN ('DROP TABLE', 'DROP SCHEMA', 'DROP OWNED', 'DROP TYPE', 'DROP EXTENSION') EXECUTE FUNCTION webhook.forget_dropped();
