-- SPDX-License-Identifier: BSD-3-Clause
-- The highest rate without loss through a gateway, by Pktgen-DPDK: RFC 2544 section 26.1 as a binary
-- search, then a long trial at what it found. README.md beside this file says how to run it.
--
-- One figure a size, as all benchmarks print it: packets/s that arrived in the confirming trials.
-- Loss is what was sent and did not arrive after both ports have come to rest.

package.path = package.path .. ";?.lua"
require "Pktgen"

local setup = {
	send = "0",                     -- port on the gateway's inside
	receive = "1",                  -- port on its outside
	gateway_mac = "02:00:00:00:00:01", -- of the gateway's inside port
	sizes = {64, 128, 256, 512, 1024, 1400}, -- IP packet that goes into ESP, bytes
	nodes = 1000,
	name = "pktgen/encap/%s/%d/%d", -- algorithm, size, nodes
	algorithm = "aes128gcm16",
	replay = false,                 -- true: Pktgen was given a capture by -s; one size only
	trial_ms = 10000,
	confirm_ms = 60000,             -- RFC 2544 section 24
	confirmations = 3,
	settle_ms = 2000,               -- until what is on its way has arrived
	resolution = 0.1,               -- % of line rate
	out = "pktgen.jsonl",
}
-- Of perf/pktgen/nodes: node i has care-of address 198.18.0.0 + i.
local care_of = (198 << 24) + (18 << 16)
local frame_extra = 14 + 4 -- Ethernet header and FCS: Pktgen's sizes count both

-- A script that sets this table and then runs this one by dofile() has its own values.
for key, value in pairs(nodrop_setup or {}) do
	setup[key] = value
end

local function dotted(address)
	return string.format("%d.%d.%d.%d", address >> 24 & 255, address >> 16 & 255,
		address >> 8 & 255, address & 255)
end

local function prepare()
	local range, port = pktgen.range, setup.send
	local first, last = dotted(care_of), dotted(care_of + setup.nodes - 1)

	pktgen.screen("off")
	pktgen.stop("all")
	pktgen.set(port, "count", 0)
	if setup.replay then
		return
	end
	range.dst_mac(port, "start", setup.gateway_mac)
	for _, bound in ipairs({"start", "min"}) do
		range.dst_ip(port, bound, first)
		range.src_ip(port, bound, "10.2.0.5")
	end
	range.dst_ip(port, "max", last)
	range.dst_ip(port, "inc", "0.0.0.1")
	range.src_ip(port, "max", "10.2.0.5")
	range.src_ip(port, "inc", "0.0.0.0")
	range.ip_proto(port, "udp")
	pktgen.set_range(port, "on")
end

local function set_size(size)
	for _, bound in ipairs({"start", "min", "max"}) do
		pktgen.range.pkt_size(setup.send, bound, size + frame_extra)
	end
	pktgen.range.pkt_size(setup.send, "inc", 0)
end

-- Sent and lost packets of so many ms at rate % of line rate.
local function trial(rate, ms)
	local sent, arrived

	pktgen.clr()
	pktgen.set(setup.send, "rate", rate)
	pktgen.start(setup.send)
	pktgen.delay(ms)
	pktgen.stop(setup.send)
	pktgen.delay(setup.settle_ms)
	sent = pktgen.portStats(setup.send, "port")[tonumber(setup.send)].opackets
	arrived = pktgen.portStats(setup.receive, "port")[tonumber(setup.receive)].ipackets
	print(string.format("%.2f %%: sent %d, lost %d", rate, sent, sent - arrived))
	return sent, sent - arrived
end

-- Rates in packets/s of the lossless confirming trials at rate; nil: one of them lost a packet.
local function confirm(rate)
	local rates = {}

	for i = 1, setup.confirmations do
		local sent, lost = trial(rate, setup.confirm_ms)

		if lost ~= 0 or sent == 0 then
			return nil
		end
		rates[i] = sent * 1000 / setup.confirm_ms
	end
	table.sort(rates)
	return rates
end

-- Between low, lossless, and high, which loses; line rate itself is tried first.
local function search()
	local low, high = 0, 100
	local rate = high

	while high - low > setup.resolution do
		local sent, lost = trial(rate, setup.trial_ms)

		if sent > 0 and lost == 0 then
			low = rate
		else
			high = rate
		end
		if low == 100 then
			break
		end
		rate = (low + high) / 2
	end
	while low > 0 do
		local rates = confirm(low)

		if rates then
			return rates
		end
		low = low - setup.resolution -- too close to the edge for a long trial
	end
	return nil
end

local function report(file, size, rates)
	local name = string.format(setup.name, setup.algorithm, size, setup.nodes)
	local line = string.format('{"name": "%s", "unit": "packets/s", "median": %.4g, ' ..
		'"min": %.4g, "max": %.4g, "n": %d}', name, rates[(#rates + 1) // 2], rates[1],
		rates[#rates], #rates)

	print(line)
	file:write(line, "\n")
	file:flush()
end

local file = assert(io.open(setup.out, "w"))

prepare()
for _, size in ipairs(setup.sizes) do
	local rates

	if not setup.replay then
		set_size(size)
	end
	rates = search()
	if rates then
		report(file, size, rates)
	else
		print(size .. " bytes: no rate without loss")
	end
end
file:close()
pktgen.set(setup.send, "rate", 100)
