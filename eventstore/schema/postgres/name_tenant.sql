-- The id of a tenant, which is made where it is new.
CREATE FUNCTION __schema__.name_tenant(p_tenant text) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $body$
DECLARE
    tenant bigint;
BEGIN
    PERFORM set_config('eventstore.tenant', p_tenant, true);
    SELECT t.tenant_id INTO tenant FROM __schema__.tenants t WHERE t.name = p_tenant;
    IF NOT FOUND THEN
        INSERT INTO __schema__.tenants (name) VALUES (p_tenant) ON CONFLICT (name) DO NOTHING;
        SELECT t.tenant_id INTO tenant FROM __schema__.tenants t WHERE t.name = p_tenant;
    END IF;
    RETURN tenant;
END
$body$
