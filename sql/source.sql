-- webhook.source: which tables' row changes become events, and how. Several per table: one update may be
-- deal.updated, deal.stage_changed and deal.won. webhook_attach() writes it; UPDATE changes it without touching the
-- table's triggers.
CREATE TABLE webhook.source (
  relation regclass NOT NULL,
  name text NOT NULL DEFAULT 'default',
  operations text[] NOT NULL DEFAULT '{insert,update,delete}',
  event_names jsonb NOT NULL DEFAULT '{}',
  watch text[],
  omit text[],
  condition text,
  body_function text,
  tenant text,
  key text,
  on_error text NOT NULL DEFAULT 'raise',
  per_transaction boolean NOT NULL DEFAULT false,
  configured_by text NOT NULL DEFAULT current_user,
  created_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (relation, name)
);
COMMENT ON TABLE webhook.source IS 'Tables whose row changes become events, and how';
COMMENT ON COLUMN webhook.source.operations IS 'any of insert, update, delete, truncate';
COMMENT ON COLUMN webhook.source.event_names IS 'operation → event type; default <table>.created, .updated, .deleted, .truncated';
COMMENT ON COLUMN webhook.source.watch IS 'an update is an event only if one of these columns changed; NULL: any that is not left out';
COMMENT ON COLUMN webhook.source.omit IS 'columns left out of the event';
COMMENT ON COLUMN webhook.source.condition IS 'SQL condition over old and new; the change is an event only if it is true';
COMMENT ON COLUMN webhook.source.body_function IS 'function of the row (the table''s type, or jsonb) that returns the event''s data as json or jsonb';
COMMENT ON COLUMN webhook.source.tenant IS 'SQL expression over old and new: the event''s tenant';
COMMENT ON COLUMN webhook.source.key IS 'SQL expression over old and new: the event''s key; NULL: schema.table:primary key';
COMMENT ON COLUMN webhook.source.on_error IS 'raise: a failing capture fails the statement; warn: it warns and the change is no event';
COMMENT ON COLUMN webhook.source.per_transaction IS 'one event per row and transaction, made when it commits: the first old values, the last new ones; needs a primary key';
COMMENT ON COLUMN webhook.source.configured_by IS 'the role body_function runs as; stamped by the system';

-- Stamps who configured a source and refuses what can't work. Whoever writes a row must own the table: what is
-- captured is the table's data. body_function runs as whoever gave it, not as whoever changes something else later.
CREATE FUNCTION webhook.check_source() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  rel pg_class;
  item record;
  bad text;
BEGIN
  IF webhook.in_copy() THEN
    PERFORM webhook.check_copier('rows into webhook.source', 'Use webhook_attach().');
    RETURN NEW;
  END IF;
  SELECT c.* INTO rel FROM pg_class c WHERE c.oid = NEW.relation;
  IF NOT FOUND THEN
    RAISE EXCEPTION USING ERRCODE = '42704', MESSAGE = format('there is no table %s', coalesce(NEW.relation::text, 'NULL')),
      HINT = 'Give the name of an existing table.';
  END IF;
  PERFORM webhook.check_attachable(rel);

  IF NEW.name IS NULL OR octet_length(NEW.name) NOT BETWEEN 1 AND 63 THEN
    PERFORM webhook.refuse('source.name', NEW.name, 'it has 1 to 63 bytes');
  END IF;
  IF array_ndims(NEW.operations) IS DISTINCT FROM 1
    OR NOT NEW.operations <@ '{insert,update,delete,truncate}'::text[]
  THEN
    PERFORM webhook.refuse('source.operations', NEW.operations::text, 'it holds insert, update, delete or truncate');
  END IF;
  IF NEW.on_error IS NULL OR NEW.on_error <> ALL ('{raise,warn}') THEN
    PERFORM webhook.refuse('source.on_error', NEW.on_error, 'it is raise or warn');
  END IF;

  IF NEW.per_transaction IS NULL THEN
    PERFORM webhook.refuse('source.per_transaction', NULL, 'it is true or false');
  END IF;
  IF NEW.per_transaction AND NOT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = NEW.relation AND i.indisprimary) THEN
    PERFORM webhook.refuse('source.per_transaction', 'true', format('table %s has no primary key to tell rows by', NEW.relation),
      'Add a primary key, or leave per_transaction false.');
  END IF;
  NEW.event_names := coalesce(NEW.event_names, '{}');
  IF jsonb_typeof(NEW.event_names) <> 'object' THEN
    PERFORM webhook.refuse('source.event_names', NEW.event_names::text, 'it is an object from operation to event type',
      'Give for example {"insert": "order.placed"}.');
  END IF;
  FOR item IN SELECT n.key, n.value FROM jsonb_each_text(NEW.event_names) n LOOP
    IF item.key <> ALL ('{insert,update,delete,truncate}') THEN
      PERFORM webhook.refuse('source.event_names', item.key, 'its keys are insert, update, delete and truncate');
    END IF;
    bad := CASE WHEN jsonb_typeof(NEW.event_names -> item.key) = 'string' THEN webhook.event_type_problem(item.value)
      ELSE 'an event type is text' END;
    IF bad IS NOT NULL THEN
      PERFORM webhook.refuse('source.event_names', item.value, bad, 'An event type is dotted words such as order.paid.');
    END IF;
  END LOOP;
  IF cardinality(NEW.watch) = 0 THEN
    PERFORM webhook.refuse('source.watch', '{}', 'an empty list watches nothing', 'NULL watches all columns.');
  END IF;
  IF array_ndims(NEW.watch) > 1 OR array_ndims(NEW.omit) > 1 THEN
    PERFORM webhook.refuse(CASE WHEN array_ndims(NEW.watch) > 1 THEN 'source.watch' ELSE 'source.omit' END,
      coalesce(NEW.watch, NEW.omit)::text, 'it is a list of columns');
  END IF;
  PERFORM webhook.check_names(NEW);
  PERFORM webhook.check_source_expressions(NEW.relation, NEW.condition, NEW.tenant, NEW.key);
  IF TG_OP = 'INSERT' OR (NEW.relation, NEW.body_function, NEW.configured_by)
    IS DISTINCT FROM (OLD.relation, OLD.body_function, OLD.configured_by)
  THEN
    NEW.configured_by := current_user;
    PERFORM webhook.check_body_function(NEW.relation, NEW.body_function);
  END IF;
  RETURN NEW;
END
$$;
CREATE TRIGGER check_source BEFORE INSERT OR UPDATE ON webhook.source
  FOR EACH ROW EXECUTE FUNCTION webhook.check_source();
CREATE TRIGGER config_changed AFTER INSERT OR UPDATE OR DELETE ON webhook.source
  FOR EACH STATEMENT EXECUTE FUNCTION webhook.config_changed();
ALTER TABLE webhook.source ENABLE ALWAYS TRIGGER config_changed;
CREATE TRIGGER config_changed_truncate AFTER TRUNCATE ON webhook.source
  FOR EACH STATEMENT EXECUTE FUNCTION webhook.config_changed();

CREATE FUNCTION webhook.default_event_name(table_name text, operation text) RETURNS text
LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
  SELECT table_name || CASE operation
    WHEN 'insert' THEN '.created' WHEN 'update' THEN '.updated' WHEN 'delete' THEN '.deleted' ELSE '.truncated' END
$$;

-- Raises unless the table's name makes event types where none are given, and it has the columns the source names.
CREATE FUNCTION webhook.check_names(source webhook.source) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  item record;
  bad text;
BEGIN
  FOR item IN
    SELECT o.op, webhook.default_event_name(c.relname, o.op) AS event_name
    FROM unnest(source.operations) o (op) JOIN pg_class c ON c.oid = source.relation
  LOOP
    IF NOT source.event_names ? item.op AND webhook.event_type_problem(item.event_name) IS NOT NULL THEN
      PERFORM webhook.refuse('source.event_names', item.event_name, webhook.event_type_problem(item.event_name),
        format('The name of table %s makes no event type: give event_names, e.g. {"%s": "thing.changed"}.', source.relation, item.op));
    END IF;
  END LOOP;
  SELECT n.name INTO bad FROM unnest(coalesce(source.watch, '{}') || coalesce(source.omit, '{}')) n (name)
  WHERE NOT EXISTS (SELECT FROM pg_attribute a
    WHERE a.attrelid = source.relation AND a.attname = n.name AND a.attnum > 0 AND NOT a.attisdropped) LIMIT 1;
  IF FOUND THEN
    RAISE EXCEPTION USING ERRCODE = '42703', MESSAGE = format('table %s has no column "%s"', source.relation, coalesce(bad, 'NULL')),
      HINT = 'watch and omit name columns of the table. Take a column out of them before you rename or drop it.';
  END IF;
END
$$;

-- Raises for a partition and for a child of another table: a statement on the parent fires no trigger beneath it.
CREATE FUNCTION webhook.check_on_its_own(relation regclass) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
  parent regclass;
BEGIN
  SELECT i.inhparent INTO parent FROM pg_inherits i WHERE i.inhrelid = relation LIMIT 1;
  IF FOUND THEN
    RAISE EXCEPTION USING ERRCODE = '42809', MESSAGE = format('%s belongs to %s: writes through %s would be no events', relation, parent, parent),
      HINT = format('Attach %s instead; webhook_detach(''%s'') ends what is attached beneath it.', parent, relation);
  END IF;
END
$$;

-- Raises unless the current user may have this table captured, and it is of a kind that can be.
CREATE FUNCTION webhook.check_attachable(rel pg_class) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF NOT pg_has_role(rel.relowner, 'USAGE') THEN
    RAISE EXCEPTION USING ERRCODE = '42501', MESSAGE = format('must be owner of table %s', rel.oid::regclass),
      HINT = 'Only its owner may have a table''s changes sent elsewhere.';
  END IF;
  IF rel.relkind <> ALL ('{r,p}') THEN
    RAISE EXCEPTION USING ERRCODE = '42809', MESSAGE = format('%s is not a table', rel.oid::regclass),
      HINT = CASE rel.relkind WHEN 'f' THEN 'A foreign table''s rows change elsewhere; attach the table there.'
        ELSE 'Attach the tables beneath it.' END;
  END IF;
  IF rel.relpersistence = 't' THEN
    RAISE EXCEPTION USING ERRCODE = '42809', MESSAGE = format('%s is a temporary table', rel.oid::regclass),
      HINT = 'Attach a permanent table.';
  END IF;
  IF rel.relnamespace = ANY (ARRAY['webhook'::regnamespace, 'pg_catalog'::regnamespace, 'information_schema'::regnamespace]) THEN
    RAISE EXCEPTION USING ERRCODE = '42809', MESSAGE = format('%s is not a table of yours', rel.oid::regclass),
      HINT = 'Tables of pg_webhook itself and of the system can''t be attached.';
  END IF;
  PERFORM webhook.check_on_its_own(rel.oid);
END
$$;

-- Reads each expression without running it: a mistake shows here and not at the first write.
CREATE FUNCTION webhook.check_source_expressions(relation regclass, condition text, tenant text, key text)
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  expression record;
BEGIN
  FOR expression IN
    SELECT * FROM (VALUES ('condition', condition), ('tenant', tenant), ('key', key)) e (name, body)
    WHERE e.body IS NOT NULL
  LOOP
    BEGIN
      PERFORM webhook.check_expression(relation, expression.name, expression.body);
    EXCEPTION WHEN OTHERS THEN
      RAISE EXCEPTION USING ERRCODE = '22023',
        MESSAGE = format('webhook.source.%s: "%s" is not valid: %s', expression.name, expression.body, SQLERRM),
        HINT = 'It is an SQL expression over old.column and new.column, evaluated with the rights of PUBLIC alone. '
          'Names outside pg_catalog are written with their schema.';
    END;
  END LOOP;
END
$$;
