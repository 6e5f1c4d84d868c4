-- Lets a stream begin behind version p_at of its parent, for the event that append_batch writes next
-- in the same transaction. True where it does, false where the stream stands already, NULL where the
-- parent has no such version. It locks the tenant's head, as append_batch does.
CREATE FUNCTION __schema__.fork_stream(p_tenant text, p_stream text, p_parent text, p_at bigint)
RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $body$
DECLARE
    tenant bigint;
BEGIN
    PERFORM set_config('eventstore.tenant', p_tenant, true);  -- for row-level security
    SELECT h.tenant_id INTO tenant
      FROM __schema__.tenants t JOIN __schema__.heads h ON h.tenant_id = t.tenant_id
     WHERE t.name = p_tenant FOR NO KEY UPDATE OF h;
    IF EXISTS (SELECT 1 FROM __schema__.streams s
                WHERE s.tenant_id = tenant AND s.name = p_stream) THEN
        RETURN false;
    END IF;
    INSERT INTO __schema__.streams (
        stream_id, tenant_id, name, version, first_recorded_at, recorded_at,
        parent_stream_id, parent_version)
    SELECT nextval('__schema__.streams_stream_id_seq'), tenant, p_stream, p_at,
           s.first_recorded_at, s.recorded_at, s.stream_id, p_at
      FROM __schema__.streams s
     WHERE s.tenant_id = tenant AND s.name = p_parent AND s.version >= p_at;
    RETURN CASE WHEN FOUND THEN true END;
END
$body$
