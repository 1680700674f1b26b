"""From a request to a finetuning job: its files looked into, its cost told, itself made once."""
