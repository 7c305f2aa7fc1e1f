-- on_delivered and on_failed of an endpoint: who may set them, and how they do. Calling them is worker/callback.sql.

-- Stamps who configured the callbacks and refuses what can't work. Runs as whoever writes the row, as check_taste() does:
-- they run with the rights of who gave them. Both run as one role, so whoever sets one answers for the other.
CREATE FUNCTION webhook.check_callbacks() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF webhook.in_copy() THEN
    IF NEW.callback_configured_by IS NOT NULL THEN
      PERFORM webhook.check_copier('an endpoint with a callback', 'INSERT or UPDATE the row.');
    END IF;
  ELSIF NEW.on_delivered IS NULL AND NEW.on_failed IS NULL THEN
    NEW.callback_configured_by := NULL;
  ELSIF TG_OP = 'INSERT' OR (NEW.on_delivered, NEW.on_failed, NEW.callback_configured_by)
    IS DISTINCT FROM (OLD.on_delivered, OLD.on_failed, OLD.callback_configured_by)
  THEN
    NEW.callback_configured_by := current_user;
    PERFORM webhook.check_callback(NEW.on_delivered), webhook.check_callback(NEW.on_failed);
  END IF;
  RETURN NEW;
END
$$;
CREATE TRIGGER a_check_callbacks BEFORE INSERT OR UPDATE ON webhook.endpoint
  FOR EACH ROW EXECUTE FUNCTION webhook.check_callbacks();

-- Other callbacks begin without a past.
CREATE FUNCTION webhook.forgive_callbacks() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  UPDATE webhook.endpoint_health h SET callback_failing_since = NULL, callback_failed_at = NULL
  WHERE h.endpoint_id = NEW.id AND h.callback_failing_since IS NOT NULL;
  RETURN NULL;
END
$$;
CREATE TRIGGER forgive_callbacks AFTER UPDATE ON webhook.endpoint
  FOR EACH ROW WHEN ((OLD.on_delivered, OLD.on_failed, OLD.callback_configured_by)
    IS DISTINCT FROM (NEW.on_delivered, NEW.on_failed, NEW.callback_configured_by))
  EXECUTE FUNCTION webhook.forgive_callbacks();

-- A callback has worked. After ten minutes without a failure that is news; one that fails now and then is failing.
CREATE FUNCTION webhook.callback_worked(endpoint_id int) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
BEGIN
  UPDATE webhook.endpoint_health h SET callback_failing_since = NULL, callback_failed_at = NULL
  WHERE h.endpoint_id = endpoint_id AND h.callback_failed_at < clock_timestamp() - interval '10 minutes';
  IF FOUND THEN
    PERFORM webhook.raise_notice('callback.recovered', endpoint_id, NULL, format('callbacks of endpoint %s work again', endpoint_id));
  END IF;
END
$$;

-- A callback has failed: a notice for the first time since they worked. Returns whether it raised one.
CREATE FUNCTION webhook.callback_failed(endpoint_id int, event_id uuid, name text, problem text) RETURNS boolean
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
  is_told boolean;
BEGIN
  SELECT h.callback_failing_since IS NOT NULL INTO is_told FROM webhook.endpoint_health h WHERE h.endpoint_id = endpoint_id;
  UPDATE webhook.endpoint_health h
  SET callback_failing_since = coalesce(h.callback_failing_since, clock_timestamp()), callback_failed_at = clock_timestamp()
  WHERE h.endpoint_id = endpoint_id;
  IF is_told IS DISTINCT FROM false THEN
    RETURN false;
  END IF;
  PERFORM webhook.raise_notice('callback.failed', endpoint_id, event_id,
    format('callback %s of endpoint %s failed for event %s: %s', name, endpoint_id, event_id, problem));
  RETURN true;
END
$$;
