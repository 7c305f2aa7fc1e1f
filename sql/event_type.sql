-- webhook.event_type: the catalogue of what there is to subscribe to. Declared by hand, by attaching a table, or seen:
-- the first event of a type enters it. A JSON Schema says what the data of a type has to look like.
CREATE TABLE webhook.event_type (
  name text PRIMARY KEY,
  description text,
  schema jsonb,
  enforcement text NOT NULL DEFAULT 'strict',
  declared boolean NOT NULL DEFAULT true,
  created_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE webhook.event_type IS 'The catalogue of event types, declared or seen; INSERT and UPDATE describe them';
COMMENT ON COLUMN webhook.event_type.description IS 'what the event means, for those who subscribe';
COMMENT ON COLUMN webhook.event_type.schema IS 'JSON Schema of the event''s data; NULL: anything';
COMMENT ON COLUMN webhook.event_type.enforcement IS 'strict: data that does not match the schema is refused; warn: it passes with a warning';
COMMENT ON COLUMN webhook.event_type.declared IS 'false: nobody described it, it was only seen';

CREATE FUNCTION webhook.check_event_type() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  problem text;
BEGIN
  IF webhook.in_copy() THEN
    RETURN NEW;
  END IF;
  IF TG_OP = 'UPDATE' THEN
    NEW.declared := true;
    NEW.created_at := OLD.created_at;
  END IF;
  -- What was seen has been checked, and may be one of pg_webhook's own.
  problem := CASE WHEN NEW.name IS NULL THEN 'it must have a value'
    WHEN NEW.declared AND (TG_OP = 'INSERT' OR NEW.name <> OLD.name) THEN webhook.event_type_problem(NEW.name) END;
  IF problem IS NOT NULL THEN
    PERFORM webhook.refuse('event_type.name', NEW.name, problem, 'An event type is dotted words such as order.paid.');
  END IF;
  IF NEW.enforcement IS NULL OR NEW.enforcement <> ALL ('{strict,warn}') THEN
    PERFORM webhook.refuse('event_type.enforcement', NEW.enforcement, 'it is strict or warn');
  END IF;
  -- pg_webhook says what its notices are, and one that did not match could not be emitted.
  problem := CASE WHEN NEW.name LIKE 'webhook.%' AND NEW.schema IS NOT NULL THEN 'webhook.* are pg_webhook''s own' END;
  IF problem IS NOT NULL THEN
    PERFORM webhook.refuse('event_type.schema', NEW.schema::text, problem,
      'Give a schema to types of your own, such as order.paid.');
  END IF;
  problem := webhook.schema_problem(NEW.schema);
  IF problem IS NOT NULL THEN
    PERFORM webhook.refuse('event_type.schema', NEW.schema::text, problem,
      'Give a JSON Schema of the event''s data, e.g. {"type": "object", "required": ["id"]}; it can''t refer to other documents.');
  END IF;
  RETURN NEW;
END
$$;
CREATE TRIGGER check_event_type BEFORE INSERT OR UPDATE ON webhook.event_type
  FOR EACH ROW EXECUTE FUNCTION webhook.check_event_type();

-- Sessions drop the schemas they know. A type that is merely seen changes nothing for anybody.
CREATE FUNCTION webhook.event_type_changed() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM webhook.drop_caches();
  RETURN NULL;
END
$$;
CREATE TRIGGER event_type_declared AFTER INSERT ON webhook.event_type
  FOR EACH ROW WHEN (NEW.declared) EXECUTE FUNCTION webhook.event_type_changed();
CREATE TRIGGER event_type_changed AFTER UPDATE OR DELETE ON webhook.event_type
  FOR EACH STATEMENT EXECUTE FUNCTION webhook.event_type_changed();
ALTER TABLE webhook.event_type ENABLE ALWAYS TRIGGER event_type_declared;
ALTER TABLE webhook.event_type ENABLE ALWAYS TRIGGER event_type_changed;
CREATE TRIGGER refuse_truncate BEFORE TRUNCATE ON webhook.event_type
  FOR EACH STATEMENT EXECUTE FUNCTION webhook.refuse_truncate();

-- The types a source makes can be subscribed to before the first of them comes.
CREATE FUNCTION webhook.enter_types() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF webhook.in_copy() THEN
    RETURN NULL;
  END IF;
  INSERT INTO webhook.event_type (name, declared)
  SELECT DISTINCT coalesce(NEW.event_names ->> o.op, webhook.default_event_name(c.relname, o.op)), false
  FROM unnest(NEW.operations) o (op) JOIN pg_class c ON c.oid = NEW.relation
  ON CONFLICT DO NOTHING;
  RETURN NULL;
END
$$;
CREATE TRIGGER enter_types AFTER INSERT OR UPDATE ON webhook.source
  FOR EACH ROW EXECUTE FUNCTION webhook.enter_types();
