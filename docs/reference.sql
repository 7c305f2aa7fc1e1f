-- Writes docs/sql.md from the catalog: names, types, defaults and comments are said once, in sql/.
-- Run by the tests, which compare; `UPDATE_DOCS=1 cargo test -p pg-webhook-tests --test e2e sql_reference` writes the file.
SET search_path = public, pg_catalog;
SELECT line FROM (
  SELECT 0 AS part, '' AS object, 0 AS place, $head$# SQL reference

Made from the catalog by `docs/reference.sql`; don't edit. Functions are in the schema given to `CREATE EXTENSION`,
everything else is in schema `webhook`. Roles: `webhook_admin` configures, `webhook_emitter` emits, `webhook_reader` reads,
`webhook_worker` delivers, `webhook_tenant` sees one tenant's rows. Channels: `webhook_wake` (no payload), `webhook_config` (an endpoint's id, or none), `webhook_notice` (a notice's id).
Errors: 22023 a value that is not valid, 54000 too large, 42501 rights, 42704 an object that does not exist, 55000 not possible now.

## Functions
$head$ AS line
  UNION ALL
  SELECT 1, p.proname, 0, format(E'### %s\n\n```\n%s(%s) → %s\n```\n\n%s. For %s.\n', p.proname, p.proname,
    replace(replace(regexp_replace(pg_get_function_arguments(p.oid), '::[a-z0-9 ]+(\[\])?', '', 'g'), ' DEFAULT ', ' = '), 'timestamp with time zone', 'timestamptz'),
    pg_get_function_result(p.oid), coalesce(obj_description(p.oid, 'pg_proc'), 'UNDOCUMENTED'),
    coalesce((SELECT string_agg(format('`%s`', r.rolname), ', ' ORDER BY r.rolname)
      FROM aclexplode(p.proacl) a JOIN pg_roles r ON r.oid = a.grantee WHERE r.rolname <> 'webhook_owner'), 'its owner'))
  FROM pg_proc p JOIN pg_depend d ON d.objid = p.oid AND d.classid = 'pg_proc'::regclass AND d.deptype = 'e'
  JOIN pg_extension x ON x.oid = d.refobjid AND x.extname = 'pg_webhook'
  WHERE p.pronamespace <> 'webhook'::regnamespace
  UNION ALL
  SELECT 2, '', 0, E'## Tables\n'
  UNION ALL
  SELECT CASE c.relkind WHEN 'v' THEN 4 ELSE 2 END, c.relname, 1,
    format(E'### webhook.%s\n\n%s.\n\n| column | type |%s |\n|---|---|%s', c.relname, coalesce(obj_description(c.oid, 'pg_class'), 'UNDOCUMENTED'),
      CASE c.relkind WHEN 'v' THEN '' ELSE ' default | meaning' END, CASE c.relkind WHEN 'v' THEN '' ELSE '---|---|' END)
  FROM pg_class c WHERE c.relnamespace = 'webhook'::regnamespace AND c.relkind = ANY ('{r,p,v}')
    AND NOT c.relispartition
  UNION ALL
  SELECT CASE c.relkind WHEN 'v' THEN 4 ELSE 2 END, c.relname, 1 + a.attnum,
    format('| `%s` | %s |', a.attname, replace(format_type(a.atttypid, a.atttypmod), 'timestamp with time zone', 'timestamptz'))
    || CASE c.relkind WHEN 'v' THEN '' ELSE format(' %s | %s |',
      coalesce('`' || regexp_replace(pg_get_expr(f.adbin, f.adrelid), '::[a-z0-9 ]+(\[\])?', '', 'g') || '`',
        CASE WHEN a.attidentity <> '' THEN 'identity' WHEN a.attnotnull THEN 'required' ELSE '' END),
      replace(coalesce(col_description(c.oid, a.attnum), ''), '|', '\|')) END
  FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
  LEFT JOIN pg_attrdef f ON f.adrelid = c.oid AND f.adnum = a.attnum
  WHERE c.relnamespace = 'webhook'::regnamespace AND c.relkind = ANY ('{r,p,v}') AND NOT c.relispartition
  UNION ALL
  SELECT CASE c.relkind WHEN 'v' THEN 4 ELSE 2 END, c.relname, 10000, ''
  FROM pg_class c WHERE c.relnamespace = 'webhook'::regnamespace AND c.relkind = ANY ('{r,p,v}') AND NOT c.relispartition
  UNION ALL
  SELECT 3, '', 0, E'## Views\n'
  UNION ALL
  SELECT 5, '', 0, E'## Settings of PostgreSQL\n\n| setting | default | who | meaning |\n|---|---|---|---|'
  UNION ALL
  SELECT 5, s.name, 1, format('| `%s` | `%s`%s | %s | %s %s |', s.name, s.boot_val, coalesce(' ' || s.unit, ''),
    CASE s.context WHEN 'user' THEN 'any user' ELSE s.context END, s.short_desc, s.extra_desc)
  FROM pg_settings s WHERE s.name LIKE 'pg\_webhook.%'
  UNION ALL
  SELECT 6, '', 0, E'\n## Settings of the database\n\nRows of `webhook.setting` override these.\n\n| name | type | default | meaning |\n|---|---|---|---|'
  UNION ALL
  SELECT 6, d.name, 1, format('| `%s` | %s | %s | %s |', d.name, d.type, d.value, d.description) FROM webhook.setting_default() d
) reference
ORDER BY part, object, place;
