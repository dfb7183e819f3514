{#- The funnels' steps in order: each step's name -> the event that makes it. DECISIONS.md has them in words. -#}

{% macro consumer_funnel_steps() -%}
    {{ return({
        "signed_up": "signed_up",
        "identity_submitted": "identity_submitted",
        "verified": "verified",
        "first_payment": "paid",
        "repeat_payment": "paid",
        "credit_opened": "credit_opened",
    }) }}
{%- endmacro %}

{% macro loan_funnel_steps() -%}
    {{ return({
        "submitted": "A_SUBMITTED",
        "preaccepted": "A_PREACCEPTED",
        "accepted": "A_ACCEPTED",
        "offer_sent": "O_SENT",
        "offer_returned": "O_SENT_BACK",
        "approved": "A_APPROVED",
    }) }}
{%- endmacro %}
