"""The Wyoming protocol, by which Home Assistant reaches speech recognisers: https://github.com/OHF-Voice/wyoming."""
