-- Notices by e-mail. A worker claims some, sends them, and says what came of it: no transaction is open meanwhile. A claim
-- lapses after two minutes, so that a worker that dies costs a second e-mail at worst, never one less.

-- What an e-mail about a notice says. No secret is in it: of the URL only scheme and host.
CREATE FUNCTION webhook.mail_text(notice webhook.notice, OUT subject text, OUT body text) RETURNS record
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
SET timezone = 'UTC'
AS $$
  SELECT
    format('[%s] %s', current_database(), left(regexp_replace(notice.message, '[[:cntrl:]]', ' ', 'g'), 200)),
    concat_ws(E'\n', notice.message, '',
      'Database:  ' || current_database(),
      'Endpoint:  ' || concat_ws(' ', notice.endpoint_id, e.name, substring(e.url FROM '^[a-z]+://(?:[^/?#]*@)?[^/?#]*')),
      'Status:    ' || e.status,
      'Since:     ' || to_char(coalesce(h.failing_since, notice.created_at), 'YYYY-MM-DD HH24:MI:SS "UTC"'),
      'Event:     ' || notice.event_id, '',
      'What happened:',
      format('  SELECT * FROM webhook.delivery_log WHERE endpoint_id = %s ORDER BY event_id DESC, number DESC LIMIT 20;', notice.endpoint_id),
      CASE notice.kind
        WHEN 'endpoint.disabled' THEN format(E'\nTo enable it again, once its receiver answers:\n'
          '  UPDATE webhook.endpoint SET status = ''active'' WHERE id = %s;', notice.endpoint_id)
        WHEN 'endpoint.failing' THEN format(E'\nDeliveries are tried again by themselves. To hold them until the receiver is back:\n'
          '  UPDATE webhook.endpoint SET status = ''paused'' WHERE id = %s;', notice.endpoint_id)
        WHEN 'callback.failed' THEN format(E'\nThe outcomes are recorded; those whose callback failed:\n'
          '  SELECT event_id, callback_error FROM webhook.delivery_log WHERE endpoint_id = %s AND callback_error IS NOT NULL;', notice.endpoint_id)
        WHEN 'delivery.exhausted' THEN format(E'\nTo send it once more:\n'
          '  SELECT webhook_resend(''%s'', %s);\nOthers that failed for good since, which are not announced one by one:\n'
          '  SELECT * FROM webhook.dead_letter WHERE endpoint_id = %2$s;', notice.event_id, notice.endpoint_id)
      END, '',
      format('This is notice %s (%s). Who gets these e-mails is the setting notice_recipients.', notice.id, notice.kind), '')
  FROM (SELECT 1) always
  LEFT JOIN webhook.endpoint e ON e.id = notice.endpoint_id
  LEFT JOIN webhook.endpoint_health h ON h.endpoint_id = notice.endpoint_id
$$;

-- Claims up to `wanted` notices that are due.
CREATE FUNCTION webhook.worker_claim_mail(wanted int)
RETURNS TABLE (notice_id bigint, sender text, recipients text, subject text, body text)
LANGUAGE sql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
  WITH claimed AS (
    UPDATE webhook.notice n SET mail_due = clock_timestamp() + interval '2 minutes', mail_tries = n.mail_tries + 1
    FROM (
      SELECT d.id FROM webhook.notice d WHERE d.mail_due <= clock_timestamp()
      ORDER BY d.mail_due LIMIT wanted FOR UPDATE SKIP LOCKED) due
    WHERE n.id = due.id RETURNING n.*
  )
  SELECT c.id, webhook.setting('notice_sender'), webhook.setting('notice_recipients'), t.subject, t.body
  FROM claimed c CROSS JOIN LATERAL webhook.mail_text((c.*)::webhook.notice) t ORDER BY c.id
$$;
COMMENT ON FUNCTION webhook.worker_claim_mail(int) IS 'Worker: notices to be sent by e-mail now';

-- What came of claimed notices: sent, or to be tried again later, for a day at most.
CREATE FUNCTION webhook.worker_mailed(notice_id bigint, sent boolean) RETURNS void
LANGUAGE sql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
  UPDATE webhook.notice n
  SET mailed_at = CASE WHEN sent THEN clock_timestamp() END,
    mail_due = CASE WHEN NOT sent AND n.created_at > now() - interval '1 day'
      THEN clock_timestamp() + least(interval '1 second' * 2 ^ least(n.mail_tries, 12), interval '30 minutes') END
  WHERE n.id = worker_mailed.notice_id AND n.mailed_at IS NULL
$$;
COMMENT ON FUNCTION webhook.worker_mailed(bigint, boolean) IS 'Worker: a notice was sent by e-mail, or could not be';
