-- Leaves of webhook.event, webhook.event_body and webhook.attempt: dated partitions, made ahead of time by the janitor (janitor.sql).

-- Lowest event id of a time (RFC 9562 UUIDv7, milliseconds); infinite times are the ends of its range.
CREATE FUNCTION webhook.first_id_at(at timestamptz) RETURNS uuid
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
  SELECT (substr(ms, 1, 8) || '-' || substr(ms, 9, 4) || '-7000-8000-000000000000')::uuid
  FROM lpad(to_hex(least(greatest(0, floor(extract(epoch FROM at) * 1000)), 281474976710655)::bigint), 12, '0') ms
$$;

-- The time an event id carries.
CREATE FUNCTION webhook.time_of_id(id uuid) RETURNS timestamptz
LANGUAGE sql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
  SELECT to_timestamp(('x' || lpad(replace(left(id::text, 13), '-', ''), 16, '0'))::bit(64)::bigint / 1000.0)
$$;

-- Dated leaves, with the times they cover. Sessions that emit read it: it must not lock a leaf, as pg_get_expr() does
-- with a table it is given.
CREATE VIEW webhook.leaf AS
  SELECT p.relname::text AS parent, c.oid::regclass AS leaf, b.from_id, b.to_id,
    webhook.time_of_id(b.from_id) AS from_at, webhook.time_of_id(b.to_id) AS to_at
  FROM pg_catalog.pg_inherits i
  JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid
  JOIN pg_catalog.pg_class p ON p.oid = i.inhparent
  CROSS JOIN LATERAL pg_catalog.regexp_match(pg_catalog.pg_get_expr(c.relpartbound, 0), 'FROM \(''(.*)''\) TO \(''(.*)''\)') AS m (bounds)
  CROSS JOIN LATERAL (SELECT m.bounds[1]::uuid AS from_id, m.bounds[2]::uuid AS to_id) b
  WHERE i.inhparent = ANY (ARRAY['webhook.event'::regclass, 'webhook.event_body'::regclass, 'webhook.attempt'::regclass]) AND m.bounds IS NOT NULL;
COMMENT ON VIEW webhook.leaf IS 'Dated partitions of webhook.event, webhook.event_body and webhook.attempt';

-- An eighth of the retention: with many leaves, whatever reads all of them gets slow.
CREATE FUNCTION webhook.leaf_width() RETURNS interval
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
  SELECT greatest(webhook.setting('retention')::interval / 8, interval '1 minute')
$$;

-- Makes a leaf of a parent for the ids in [from_id, to_id). It has the indexes of the default leaf.
-- Whoever calls has locked the default leaf: ATTACH does so anyway, and reads it through.
CREATE FUNCTION webhook.make_leaf(parent text, from_id uuid, to_id uuid) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET default_table_access_method = heap
AS $$
DECLARE
  leaf text := parent || to_char(webhook.time_of_id(from_id) AT TIME ZONE 'UTC', '_YYYYMMDD_HH24MISS');
BEGIN
  EXECUTE format('CREATE TABLE webhook.%I (LIKE webhook.%I INCLUDING ALL EXCLUDING COMMENTS)', leaf, parent || '_default');
  EXECUTE format('ALTER TABLE webhook.%I ATTACH PARTITION webhook.%I FOR VALUES FROM (%L) TO (%L)', parent, leaf, from_id, to_id);
END
$$;

-- A dump that is restored without its owners has leaves that belong to whoever restores it, out of the janitor's
-- reach. They are taken over as they are attached. Belongs to the superuser who creates the extension.
CREATE FUNCTION webhook.adopt_leaf() RETURNS event_trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  leaf regclass;
BEGIN
  FOR leaf IN
    SELECT c.oid
    FROM pg_event_trigger_ddl_commands() d
    JOIN pg_inherits i ON i.inhparent = d.objid
    JOIN pg_class c ON c.oid = i.inhrelid
    WHERE d.objid = ANY (ARRAY['webhook.event'::regclass, 'webhook.event_body'::regclass, 'webhook.attempt'::regclass])
      AND webhook.attaches_partition(d.command) AND c.relowner <> 'webhook_owner'::regrole
  LOOP
    EXECUTE format('ALTER TABLE %s OWNER TO webhook_owner', leaf);
  END LOOP;
END
$$;
CREATE EVENT TRIGGER webhook_adopt_leaf ON ddl_command_end
  WHEN TAG IN ('ALTER TABLE') EXECUTE FUNCTION webhook.adopt_leaf();
-- A restore may run with session_replication_role = replica.
ALTER EVENT TRIGGER webhook_adopt_leaf ENABLE ALWAYS;
