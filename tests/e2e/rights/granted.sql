-- Who may do what with each relation, function, type and the schema, beside its owner. `nobody` stands for nobody else.
SELECT concat_ws(' ', o.grantee || ':', o.object, string_agg(o.privilege, ' ' ORDER BY o.privilege))
FROM (
  SELECT DISTINCT coalesce(r.rolname::text, CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE 'nobody' END) AS grantee, m.object,
    lower(a.privilege_type) || m.extent AS privilege
  FROM (
    SELECT c.relname::text AS object, '' AS extent, c.relacl AS acl, c.relowner AS owner
    FROM pg_class c WHERE c.relnamespace = 'webhook'::regnamespace AND c.relkind = ANY ('{r,p,v,S}')
    UNION ALL
    SELECT c.relname, ' of some columns', a.attacl, c.relowner
    FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
    WHERE c.relnamespace = 'webhook'::regnamespace AND a.attacl IS NOT NULL
    UNION ALL
    SELECT p.proname || '()', '', coalesce(p.proacl, acldefault('f', p.proowner)), p.proowner
    FROM pg_proc p JOIN pg_depend d ON d.objid = p.oid AND d.classid = 'pg_proc'::regclass AND d.deptype = 'e'
    JOIN pg_extension x ON x.oid = d.refobjid AND x.extname = 'pg_webhook'
    UNION ALL
    SELECT 'type ' || t.typname, '', coalesce(t.typacl, acldefault('T', t.typowner)), t.typowner
    FROM pg_type t JOIN pg_class c ON c.oid = t.typrelid AND c.relkind = 'c' WHERE t.typnamespace = 'webhook'::regnamespace
    UNION ALL
    SELECT 'schema ' || n.nspname, '', n.nspacl, n.nspowner FROM pg_namespace n WHERE n.nspname = 'webhook'
  ) m
  LEFT JOIN LATERAL aclexplode(m.acl) a ON a.grantee <> m.owner
  LEFT JOIN pg_roles r ON r.oid = a.grantee
) o
GROUP BY o.grantee, o.object ORDER BY 1
