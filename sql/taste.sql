-- Which events an endpoint gets beyond its subscription, and how they are written: filter, envelope, transform.

-- Stamps who configured a transform and refuses what can't work. Runs as whoever writes the row, unlike
-- check_endpoint(): the transform runs with the rights of who gave it, not of who changes something else later.
CREATE FUNCTION webhook.check_taste() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  problem text;
BEGIN
  IF webhook.in_copy() THEN
    IF NEW.configured_by IS NOT NULL THEN
      PERFORM webhook.check_copier('an endpoint with a transform', 'INSERT or UPDATE the row.');
    END IF;
  ELSIF NEW.transform IS NULL THEN
    NEW.configured_by := NULL;
  ELSIF TG_OP = 'INSERT' OR (NEW.transform, NEW.configured_by) IS DISTINCT FROM (OLD.transform, OLD.configured_by) THEN
    NEW.configured_by := current_user;
    PERFORM webhook.check_transform(NEW.transform);
  END IF;
  IF NEW.on_error <> ALL ('{raise,skip}') THEN
    PERFORM webhook.refuse('endpoint.on_error', NEW.on_error, 'it is raise or skip');
  END IF;
  problem := webhook.filter_problem(NEW.filter::text);
  IF problem IS NOT NULL THEN
    PERFORM webhook.refuse('endpoint.filter', NEW.filter::text, problem, 'Write what is compared into it, e.g. $.data.amount > 100.');
  END IF;
  problem := webhook.envelope_problem(NEW.envelope::text);
  IF problem IS NOT NULL THEN
    PERFORM webhook.refuse('endpoint.envelope', NEW.envelope::text, problem,
      'Give the body''s members, e.g. {"id": "{id}", "created_at": "{timestamp}", "data": "{data}"}.');
  END IF;
  IF NEW.envelope IS NOT NULL AND NEW.transform IS NOT NULL THEN
    PERFORM webhook.refuse('endpoint.envelope', NEW.envelope::text, 'an endpoint with a transform has no envelope',
      'Have the transform write the members.');
  END IF;
  RETURN NEW;
END
$$;
-- Before check_endpoint, by its name: json that jsonb does not take is refused here.
CREATE TRIGGER a_check_taste BEFORE INSERT OR UPDATE ON webhook.endpoint
  FOR EACH ROW EXECUTE FUNCTION webhook.check_taste();
