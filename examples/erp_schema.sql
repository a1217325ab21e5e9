-- The part of an ERP that decides who browses, small enough to read: contracts, their invoices, and a counter of
-- changes. sqlite3 erp.db < erp_schema.sql

CREATE TABLE contrato (
  contrato     TEXT PRIMARY KEY,             -- C-1001
  login        TEXT NOT NULL UNIQUE,         -- PPPoE
  concentrador TEXT NOT NULL,                -- the gateway: gw1
  ipv4         TEXT UNIQUE,                  -- 100.64.0.10 (CGNAT or public)
  prefixo_ipv6 TEXT UNIQUE,                  -- 2001:db8:0:100::/56, as delegated
  -- ativo: browses. aviso: is reminded. reduzido: slowed down. bloqueado: payment page only. cancelado: gone.
  status       TEXT NOT NULL DEFAULT 'ativo'
               CHECK (status IN ('ativo', 'aviso', 'reduzido', 'bloqueado', 'cancelado')),
  notificado_em TEXT,                        -- when the customer was notified (RFC 3339), where it was
  rev          INTEGER NOT NULL DEFAULT 0,   -- the change that touched this contract last
  alterado_em  TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP
) STRICT;
CREATE INDEX contrato_rev ON contrato (rev);
CREATE INDEX contrato_concentrador ON contrato (concentrador);

CREATE TABLE fatura (
  numero     TEXT PRIMARY KEY,               -- F-2026-11-1001
  contrato   TEXT NOT NULL REFERENCES contrato,
  vencimento TEXT NOT NULL,                  -- 2026-11-05
  paga_em    TEXT                            -- NULL: open
) STRICT;
CREATE INDEX fatura_contrato ON fatura (contrato);

-- One counter for all changes, kept by triggers so that nobody can forget it. The mirror asks for "rev > the last".
CREATE TABLE contador (rev INTEGER NOT NULL) STRICT;
INSERT INTO contador VALUES (0);

CREATE TRIGGER contrato_novo AFTER INSERT ON contrato BEGIN
  UPDATE contador SET rev = rev + 1;
  UPDATE contrato SET rev = (SELECT rev FROM contador) WHERE contrato = new.contrato;
END;
CREATE TRIGGER contrato_alterado
AFTER UPDATE OF login, concentrador, ipv4, prefixo_ipv6, status, notificado_em ON contrato BEGIN
  UPDATE contador SET rev = rev + 1;
  UPDATE contrato SET rev = (SELECT rev FROM contador), alterado_em = CURRENT_TIMESTAMP WHERE contrato = new.contrato;
END;
CREATE TRIGGER fatura_nova AFTER INSERT ON fatura BEGIN
  UPDATE contador SET rev = rev + 1;
  UPDATE contrato SET rev = (SELECT rev FROM contador), alterado_em = CURRENT_TIMESTAMP WHERE contrato = new.contrato;
END;
CREATE TRIGGER fatura_alterada AFTER UPDATE ON fatura BEGIN
  UPDATE contador SET rev = rev + 1;
  UPDATE contrato SET rev = (SELECT rev FROM contador), alterado_em = CURRENT_TIMESTAMP WHERE contrato = new.contrato;
END;

-- How far the mirror has handed over: written by it alone.
CREATE TABLE espelho (rev INTEGER NOT NULL) STRICT;
INSERT INTO espelho VALUES (0);
