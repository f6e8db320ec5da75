"""Training: engines that turn RunConfigs into RunRecords; importing this loads no torch."""
