-- Housekeeping: leaves ahead, retention behind. Every function takes `at` (the present), so that days can be made to
-- pass in tests. Arithmetic on times is done in UTC: a day has 24 hours, whatever the session's time zone.
--
-- Where the planner is kept from reading whole tables, jit is off: what it may not do counts as cost, and compiling for
-- that cost takes longer than the work.
--
-- Nobody waits long for any of it. A leaf is retired by locking it alone, seeing that nothing of it is owed and
-- TRUNCATE. What locks more, a parent or a default leaf, comes at the end of a round and is given up after a moment;
-- the next round tries again.

-- Lowest id of an event that is owed; NULL if nothing is. One probe of the index per endpoint, however long the queue.
CREATE FUNCTION webhook.oldest_owed() RETURNS uuid
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
SET enable_bitmapscan = off
SET enable_sort = off
SET jit = off
AS $$
  SELECT first.event_id
  FROM webhook.owed_endpoints() o (id) CROSS JOIN LATERAL (
    SELECT q.event_id FROM webhook.queue q WHERE q.endpoint_id = o.id ORDER BY q.endpoint_id, q.event_id LIMIT 1) first
  ORDER BY first.event_id LIMIT 1
$$;

-- Events from this id on are kept: those within the retention and a leaf's width, those still owed, and those that
-- ended as `expired` less than a width ago, so that nothing owed goes unseen.
CREATE FUNCTION webhook.keep_from(at timestamptz) RETURNS uuid
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET timezone = 'UTC'
AS $$
DECLARE
  width interval := webhook.leaf_width();
  past uuid := webhook.first_id_at(at - webhook.setting('retention')::interval - width);
BEGIN
  RETURN least(past, webhook.oldest_owed(), (
    SELECT a.event_id FROM webhook.attempt a
    WHERE a.outcome = 'expired' AND a.event_id < past AND a.recorded_at > at - width
    ORDER BY a.event_id LIMIT 1));
END
$$;

-- Ends as `expired` what is still owed of events past the retention, a bounded number at a time; returns how many.
-- What a worker is recording at this moment is left to it.
CREATE FUNCTION webhook.janitor_expire(at timestamptz) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET timezone = 'UTC'
SET enable_seqscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
SET jit = off
AS $$
DECLARE
  cutoff uuid := webhook.first_id_at(at - webhook.setting('retention')::interval);
BEGIN
  RETURN webhook.end_owed(ARRAY(
    SELECT past.q FROM webhook.owed_endpoints() o (id) CROSS JOIN LATERAL (
      SELECT q FROM webhook.queue q
      WHERE q.endpoint_id = o.id AND q.event_id < cutoff
      FOR UPDATE SKIP LOCKED) past
    LIMIT 50000
  ), 'expired', format('still owed after the retention of %s', webhook.setting('retention')), at);
END
$$;

-- Empties leaves of which nothing is kept (see webhook.keep_from) and trims the default leaves, a bounded number of
-- rows at a time. Returns how many leaves were emptied, and rows trimmed.
CREATE FUNCTION webhook.janitor_retire(at timestamptz, OUT emptied int, OUT trimmed bigint)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET timezone = 'UTC'
SET lock_timeout = '100ms'
AS $$
DECLARE
  keep uuid := webhook.keep_from(at);
  old record;
  filled boolean;
  gone bigint;
BEGIN
  emptied := 0;
  FOR old IN SELECT l.leaf, l.to_id FROM webhook.leaf l WHERE l.to_id <= keep ORDER BY l.to_id, l.parent LOOP
    BEGIN
      EXECUTE format('SELECT EXISTS (SELECT FROM %s)', old.leaf) INTO filled;
      IF filled THEN
        EXECUTE format('LOCK TABLE %s IN ACCESS EXCLUSIVE MODE', old.leaf);
        -- Whoever wrote to it has ended: what is owed of it shows now.
        IF webhook.oldest_owed() < old.to_id THEN
          RAISE lock_not_available;
        END IF;
        EXECUTE format('TRUNCATE TABLE %s', old.leaf);
        emptied := emptied + 1;
      END IF;
    EXCEPTION WHEN lock_not_available THEN
      NULL; -- Somebody holds on to it, or owes some of it after all.
    END;
  END LOOP;

  DELETE FROM webhook.event_default WHERE ctid = ANY (ARRAY(
    SELECT e.ctid FROM webhook.event_default e
    WHERE e.id < (SELECT least(keep, webhook.oldest_owed())) ORDER BY e.id LIMIT 100000));
  GET DIAGNOSTICS trimmed = ROW_COUNT;
  DELETE FROM webhook.event_body_default WHERE ctid = ANY (ARRAY(
    SELECT b.ctid FROM webhook.event_body_default b
    WHERE b.event_id < (SELECT least(keep, webhook.oldest_owed())) ORDER BY b.event_id LIMIT 100000));
  GET DIAGNOSTICS gone = ROW_COUNT;
  trimmed := trimmed + gone;
  DELETE FROM webhook.attempt_default WHERE ctid = ANY (ARRAY(
    SELECT a.ctid FROM webhook.attempt_default a WHERE a.event_id < keep ORDER BY a.event_id LIMIT 100000));
  GET DIAGNOSTICS gone = ROW_COUNT;
  trimmed := trimmed + gone;
  DELETE FROM webhook.idempotency i WHERE i.expires_at <= at;
  DELETE FROM webhook.notice n WHERE n.created_at < at - webhook.setting('retention')::interval - webhook.leaf_width();
END
$$;

-- Keeps leaves ready for the present and two widths ahead; returns for how many stretches of time it made some.
CREATE FUNCTION webhook.janitor_ahead(at timestamptz) RETURNS int
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET timezone = 'UTC'
SET lock_timeout = '200ms'
AS $$
DECLARE
  width interval := webhook.leaf_width();
  start_at timestamptz := (SELECT max(l.to_at) FROM webhook.leaf l);
  from_id uuid;
  to_id uuid;
  stray uuid;
  made int := 0;
BEGIN
  -- The present belongs to the default leaf where no leaf was made for it in time.
  IF start_at IS NULL OR start_at <= at THEN
    start_at := date_trunc('minute', at) + interval '2 minutes';
  END IF;
  WHILE start_at < at + 2 * width LOOP
    IF made = 0 THEN
      -- The events' last: it is the one that writers may wait for, if the present belongs to it.
      LOCK TABLE webhook.attempt_default IN ACCESS EXCLUSIVE MODE;
      LOCK TABLE webhook.event_body_default IN ACCESS EXCLUSIVE MODE;
      LOCK TABLE webhook.event_default IN ACCESS EXCLUSIVE MODE;
    END IF;
    from_id := webhook.first_id_at(start_at);
    to_id := webhook.first_id_at(start_at + width);
    -- A clock that was ahead of itself for a while has left rows in the future: the leaf begins after them.
    stray := greatest(
      (SELECT e.id FROM webhook.event_default e WHERE e.id >= from_id AND e.id < to_id ORDER BY e.id DESC LIMIT 1),
      (SELECT b.event_id FROM webhook.event_body_default b WHERE b.event_id >= from_id AND b.event_id < to_id
        ORDER BY b.event_id DESC LIMIT 1),
      (SELECT a.event_id FROM webhook.attempt_default a WHERE a.event_id >= from_id AND a.event_id < to_id
        ORDER BY a.event_id DESC LIMIT 1));
    IF stray IS NOT NULL THEN
      from_id := webhook.first_id_at(webhook.time_of_id(stray) + interval '1 millisecond');
    END IF;
    IF from_id < to_id THEN
      PERFORM webhook.make_leaf('attempt', from_id, to_id), webhook.make_leaf('event_body', from_id, to_id),
        webhook.make_leaf('event', from_id, to_id);
    END IF;
    start_at := start_at + width;
    made := made + 1;
  END LOOP;
  RETURN made;
END
$$;

-- Drops leaves that are empty and of which nothing is kept; returns how many. That locks the parent and its default
-- leaf, and must not make anybody wait behind one who has been writing for long.
CREATE FUNCTION webhook.janitor_drop(at timestamptz) RETURNS int
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET lock_timeout = '50ms'
AS $$
DECLARE
  keep uuid := webhook.keep_from(at);
  of_parent text;
  leaves regclass[];
  leaf regclass;
  filled boolean;
  dropped int := 0;
  dropped_now int;
BEGIN
  FOREACH of_parent IN ARRAY ARRAY['attempt', 'event_body', 'event'] LOOP
    leaves := ARRAY(SELECT l.leaf FROM webhook.leaf l WHERE l.parent = of_parent AND l.to_id <= keep ORDER BY l.to_id);
    CONTINUE WHEN leaves = '{}';
    BEGIN
      dropped_now := 0;
      EXECUTE format('LOCK TABLE ONLY webhook.%I, webhook.%I IN ACCESS EXCLUSIVE MODE', of_parent, of_parent || '_default');
      FOREACH leaf IN ARRAY leaves LOOP
        -- What came into it since it was emptied is for the next round.
        EXECUTE format('LOCK TABLE %s IN ACCESS EXCLUSIVE MODE', leaf);
        EXECUTE format('SELECT EXISTS (SELECT FROM %s)', leaf) INTO filled;
        IF NOT filled THEN
          EXECUTE format('DROP TABLE %s', leaf);
          dropped_now := dropped_now + 1;
        END IF;
      END LOOP;
      dropped := dropped + dropped_now;
    EXCEPTION WHEN lock_not_available THEN
      NULL;
    END;
  END LOOP;
  RETURN dropped;
END
$$;

-- One round of housekeeping; one at a time, whoever comes second is told {"busy": true}.
CREATE FUNCTION webhook.janitor(at timestamptz DEFAULT clock_timestamp()) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  done jsonb;
  given int;
  made int;
BEGIN
  -- An older snapshot would not show what came to be owed while a leaf was locked.
  IF current_setting('transaction_isolation') <> 'read committed' THEN
    RAISE EXCEPTION USING ERRCODE = '55000',
      MESSAGE = format('housekeeping does not work in a %s transaction', current_setting('transaction_isolation')),
      HINT = 'Call webhook.janitor() in a READ COMMITTED one.';
  END IF;
  BEGIN
    -- A table nobody writes to but webhook_arm(), and nobody else may lock.
    LOCK TABLE webhook.installation IN SHARE UPDATE EXCLUSIVE MODE NOWAIT;
  EXCEPTION WHEN lock_not_available THEN
    RETURN '{"busy": true}';
  END;
  done := jsonb_build_object('expired', webhook.janitor_expire(at));
  SELECT done || to_jsonb(r) INTO done FROM webhook.janitor_retire(at) r;
  SELECT count(*) INTO given
  FROM (SELECT e.id FROM webhook.endpoint e WHERE NOT EXISTS (SELECT FROM webhook.endpoint_secret s
    WHERE s.endpoint_id = e.id AND (s.expires_at IS NULL OR s.expires_at > clock_timestamp())) OFFSET 0) bare
  WHERE webhook.give_secret(bare.id);
  -- Last: their locks last until the end of the transaction.
  BEGIN
    made := webhook.janitor_ahead(at);
  EXCEPTION WHEN lock_not_available THEN
    made := 0;
  END;
  RETURN done || jsonb_build_object('secrets_given', given, 'made', made, 'dropped', webhook.janitor_drop(at));
END
$$;
COMMENT ON FUNCTION webhook.janitor(timestamptz) IS 'Housekeeping: partitions ahead, retention behind; the worker calls it every minute';
